"""Conditions and filters as SQL over raw_crawl (alias r). Values to compare with come from a recipe and are always parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from veclip_pipelines.config.recipe import BASIC, Condition, Filters


@dataclass(frozen=True)
class Clause:
    """A test of a row: its SQL, its parameters, and the reason code of a row that fails it."""

    sql: str
    parameters: tuple[object, ...]
    reason: str


def score_sql(column: str) -> tuple[str, str]:
    """SQL for a number among the drop's other columns, and the path that is its parameter; NULL where there is none."""
    return "TRY_CAST(json_extract_string(r.extra, ?) AS DOUBLE)", f'$."{column.replace(chr(34), "")}"'


def clauses_of(condition: Condition, prefix: str = "") -> Iterator[Clause]:
    """The tests that a condition stands for, each with the reason code: ``prefix`` and what was not met."""
    words = "len(string_split_regex(trim(r.alt_text), '\\s+'))"
    aspect = "greatest(r.width, r.height)::DOUBLE / least(r.width, r.height)"
    if condition.languages:
        yield Clause("list_contains(?, r.language)", (list(condition.languages),), f"{prefix}language")
    if condition.minimum_language_confidence:
        yield Clause(
            "r.language_confidence >= ?", (condition.minimum_language_confidence,), f"{prefix}language_confidence"
        )
    if condition.with_flags:
        yield Clause("list_has_all(r.flags, ?)", (list(condition.with_flags),), f"{prefix}flags")
    if condition.without_flags:
        yield Clause("NOT list_has_any(r.flags, ?)", (list(condition.without_flags),), f"{prefix}flags")
    if condition.minimum_words:
        yield Clause(f"r.alt_text <> '' AND {words} >= ?", (condition.minimum_words,), f"{prefix}words")
    if condition.maximum_words is not None:
        yield Clause(f"{words} <= ?", (condition.maximum_words,), f"{prefix}words")
    if condition.minimum_characters:
        yield Clause("length(r.alt_text) >= ?", (condition.minimum_characters,), f"{prefix}characters")
    if condition.minimum_side:
        yield Clause("least(r.width, r.height) >= ?", (condition.minimum_side,), f"{prefix}side")
    if condition.maximum_aspect is not None:
        yield Clause(f"{aspect} <= ?", (condition.maximum_aspect,), f"{prefix}aspect")
    if condition.maximum_nsfw is not None:
        yield Clause("r.nsfw_score <= ?", (condition.maximum_nsfw,), f"{prefix}nsfw")
    for column, least in sorted(condition.minimum_scores.items()):
        sql, path = score_sql(column)
        yield Clause(f"{sql} >= ?", (path, least), f"{prefix}score")


def filter_clauses(filters: Filters, least_score: float | None) -> list[Clause]:
    """The tests of a part's filters, near duplicates aside.

    Args:
        least_score: the score from which samples are kept, where there is a score filter.
    """
    found = [*clauses_of(BASIC, "basic_")] if filters.basic else []
    if filters.where is not None:
        found += clauses_of(filters.where)
    if filters.score is not None:
        sql, path = score_sql(filters.score.column)
        found.append(Clause(f"{sql} >= ?", (path, least_score), "score"))
    return found


def all_of(clauses: list[Clause]) -> tuple[str, list[object]]:
    """One SQL expression that is true where all tests are met, and false where one is not met or cannot be evaluated."""
    if not clauses:
        return "true", []
    sql = " AND ".join(f"coalesce({clause.sql}, false)" for clause in clauses)
    return f"({sql})", [value for clause in clauses for value in clause.parameters]


def first_fault(clauses: list[Clause]) -> tuple[str, list[object]]:
    """SQL for the reason code of the first test that a row fails; NULL where it meets all."""
    if not clauses:
        return "NULL", []
    cases = " ".join(f"WHEN NOT coalesce({clause.sql}, false) THEN '{clause.reason}'" for clause in clauses)
    return f"CASE {cases} END", [value for clause in clauses for value in clause.parameters]

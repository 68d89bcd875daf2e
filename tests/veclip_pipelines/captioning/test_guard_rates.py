"""Guard rates and their band: usual rates pass, unusual ones fail, and too little data is reported as such."""

from __future__ import annotations

import json
import uuid

from assets.shared.guards import guard_rates_in_band
from veclip_pipelines.captioning.guard_rates import GuardCounts, bands, earlier_counts, guard_counts
from veclip_pipelines.schemas.crawl_schemas import VECAP
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.provenance import Provenance, record
from veclip_pipelines.tables.query import connect
from veclip_pipelines.tables.warehouse import Warehouse


def put(warehouse: Warehouse, key: str, faults: list[list[str]], engine: str = "e") -> GuardCounts:
    """A materialisation of vecap: one row for each list of faults."""
    partition = {"crawl_partition": key, "engine_id": engine}
    rows: list[dict[str, object]] = [
        {"sample_id": f"{number:032x}", "input_hash": "h", "faults": found, "outcome": "kept", "text": "x"}
        for number, found in enumerate(faults)
    ]
    expected = partition_files(warehouse.open(VECAP), partition)
    file = write_file(warehouse, VECAP, partition, f"f{len(expected)}", table_of(VECAP, rows))
    replace_partition(warehouse, VECAP, partition, [file], expected=expected, properties={})
    counts = guard_counts(warehouse, VECAP, key, engine)
    made = Provenance(
        asset="vecap", partition=key, run_id=uuid.uuid4().hex, inputs={"engine": engine}, data_version="d", delta_version=1,
        files=(), rows_in=len(rows), rows_kept=len(rows), rows_rejected=0, seconds=1.0, code_version="1", launched_by="me",
        guards=counts.as_json(),
    )  # fmt: skip
    record(warehouse, made)
    return counts


def faulty(rows: int, of: int, reason: str = "refusal") -> list[list[str]]:
    return [[reason]] * rows + [[]] * (of - rows)


def test_rows_are_counted_by_each_guard_that_objected(warehouse: Warehouse) -> None:
    counts = put(warehouse, "p", [["refusal"], ["invented", "refusal"], [], []])
    assert (counts.rows, counts.faults) == (4, {"refusal": 2, "invented": 1})
    assert json.loads(counts.as_json()) == {"rows": 4, "faults": {"refusal": 2, "invented": 1}}


def test_a_band_holds_what_chance_alone_does_and_not_what_it_does_not() -> None:
    earlier = [GuardCounts(str(number), 1000, {"refusal": 100}) for number in range(10)]
    # Three standard deviations of 1,000 rows at 10 % are 2.98 points, with those of the earlier 10,000 rows.
    for rate, holds in ((0.100, True), (0.128, True), (0.074, True), (0.132, False), (0.065, False)):
        (band,) = bands(GuardCounts("now", 1000, {"refusal": round(1000 * rate)}), earlier)
        assert band.holds is holds, rate
        assert (round(band.low, 3), round(band.high, 3)) == (0.070, 0.130)


def test_a_guard_that_never_objected_and_one_that_stops_have_bands_too() -> None:
    earlier = [GuardCounts(str(number), 1000, {"invented": 500}) for number in range(10)]
    found = {band.reason: band for band in bands(GuardCounts("now", 1000, {"refusal": 30}), earlier)}
    assert not found["refusal"].holds
    assert not found["invented"].holds
    assert bands(GuardCounts("now", 1000, {"invented": 510}), earlier)[0].holds


def test_too_few_partitions_tell_nothing() -> None:
    earlier = [GuardCounts(str(number), 1000, {}) for number in range(2)]
    assert bands(GuardCounts("now", 10, {"refusal": 10}), earlier) == []


def test_only_the_ten_newest_partitions_of_the_same_engine_count(warehouse: Warehouse) -> None:
    for number in range(12):
        put(warehouse, f"p{number:02d}", faulty(1, 10))
    put(warehouse, "other", faulty(9, 10), engine="another")
    put(warehouse, "p05", faulty(2, 10), engine="e")  # made again: the newest counts, once
    found = earlier_counts(warehouse, "vecap", "p11", "e")
    assert len(found) == 10
    assert found[0].partition == "p05"
    assert {counts.partition for counts in found} == {
        "p05",
        *(f"p{number:02d}" for number in (1, 2, 3, 4, 6, 7, 8, 9, 10)),
    }


def test_the_check_warns_of_a_rate_that_moved(warehouse: Warehouse) -> None:
    check = guard_rates_in_band("vecap")
    with connect(warehouse) as connection:
        for number in range(4):
            put(warehouse, f"p{number}", faulty(10, 100))
            assert check(warehouse, connection, f"p{number}").passed
        assert (
            "too few" in check(warehouse, connection, "none").says
            or "no rates" in check(warehouse, connection, "none").says
        )
        put(warehouse, "same", faulty(13, 100))
        assert check(warehouse, connection, "same").passed
        put(warehouse, "moved", faulty(40, 100))
        finding = check(warehouse, connection, "moved")
        assert not finding.passed
        assert "refusal 40.0%" in finding.says
        assert finding.figures["outside"] == 1

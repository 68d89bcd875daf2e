"""Duplicates: every near pair is found, groups are components, and the order of arrival does not matter."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

import pytest

from veclip_pipelines.crawl.duplicates import duplicates_inputs, find_duplicates
from veclip_pipelines.schemas.crawl_schemas import RAW_CRAWL
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

Sample = tuple[str, int, str]  # sample_id, perceptual hash, image_sha256


def put(warehouse: Warehouse, key: str, samples: Sequence[Sample]) -> None:
    """Puts a partition of raw_crawl in place of the one that is there, with hashes of our choice."""
    rows: list[dict[str, object]] = [
        {"sample_id": sample_id, "phash": f"{phash:016x}", "image_sha256": sha256, "source_key": sample_id, "flags": [], "outcome": "kept"}
        for sample_id, phash, sha256 in samples
    ]  # fmt: skip
    rows.append({"sample_id": f"r-{key}", "source_key": "r", "flags": [], "outcome": "rejected", "reason": "gone"})
    partition = {"crawl_partition": key}
    expected = partition_files(warehouse.open(RAW_CRAWL), partition)
    file = write_file(
        warehouse,
        RAW_CRAWL,
        partition,
        f"f{len(expected)}-{random.random()}".replace(".", ""),
        table_of(RAW_CRAWL, rows),
    )
    replace_partition(warehouse, RAW_CRAWL, partition, [file], expected=expected, properties={})


def groups(warehouse: Warehouse) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in read_rows(warehouse, "SELECT * FROM duplicates", tables=["duplicates"]):
        found.setdefault(row["group_id"], set()).add(row["sample_id"])
    return found


def flip(value: int, *bits: int) -> int:
    for bit in bits:
        value ^= 1 << bit
    return value


def brute_force(samples: Sequence[Sample], distance: int) -> dict[str, set[str]]:
    """Components by looking at every pair."""
    group = {sample[0]: {sample[0]} for sample in samples}
    for left, right in itertools.combinations(samples, 2):
        if (left[1] ^ right[1]).bit_count() <= distance:
            joined = group[left[0]] | group[right[0]]
            for name in joined:
                group[name] = joined
    return {min(members): members for members in group.values() if len(members) > 1}


def crawl_of(seed: int, count: int) -> list[Sample]:
    """Samples with chains of near hashes, equal hashes and equal pictures among strangers."""
    rng = random.Random(seed)
    samples: list[Sample] = []
    for number in range(count):
        kind = rng.random()
        if samples and kind < 0.3:
            near = flip(rng.choice(samples)[1], *rng.sample(range(64), rng.randint(1, 4)))
            samples.append((f"{rng.getrandbits(64):016x}", near, f"sha-{number}"))
        elif samples and kind < 0.5:
            _, phash, sha256 = rng.choice(samples)
            samples.append((f"{rng.getrandbits(64):016x}", phash, sha256))
        else:
            samples.append((f"{rng.getrandbits(64):016x}", rng.getrandbits(64), f"sha-{number}"))
    return samples


@pytest.mark.parametrize("distance", [0, 3, 7])
def test_every_pair_is_found(warehouse: Warehouse, distance: int) -> None:
    samples = crawl_of(distance, 150)
    put(warehouse, "a", samples[:80])
    put(warehouse, "b", samples[80:])
    result = find_duplicates(warehouse, distance, properties={})
    expected = brute_force(samples, distance)
    assert groups(warehouse) == expected
    assert (result.groups, result.members) == (len(expected), sum(map(len, expected.values())))


def test_three_orders_give_the_same_groups(warehouse: Warehouse, tmp_path: Any) -> None:
    samples = crawl_of(11, 120)
    parts = {"a": samples[:40], "b": samples[40:80], "c": samples[80:]}
    seen = []
    for number, order in enumerate(("abc", "cab", "bca")):
        other = Warehouse.at(str(tmp_path / f"warehouse-{number}"))
        for key in order:
            put(other, key, parts[key])
            find_duplicates(other, 3, properties={})
        rows = read_rows(other, "SELECT * FROM duplicates ORDER BY sample_id", tables=["duplicates"])
        seen.append(rows)
    assert seen[0] == seen[1] == seen[2]
    assert groups(Warehouse.at(str(tmp_path / "warehouse-0"))) == brute_force(samples, 3)


def test_a_replaced_or_retired_partition_leaves_no_trace(warehouse: Warehouse) -> None:
    base = 0x0123456789ABCDEF
    put(warehouse, "a", [("s1", base, "x1")])
    put(warehouse, "b", [("s2", flip(base, 1, 2, 3), "x2")])
    put(warehouse, "c", [("s3", flip(base, 1, 2, 3, 10, 11, 12), "x3"), ("s4", base ^ (2**64 - 1), "x4")])
    find_duplicates(warehouse, 3, properties={})
    assert groups(warehouse) == {"s1": {"s1", "s2", "s3"}}
    put(warehouse, "b", [("s5", base ^ (2**64 - 1), "x4")])  # the link is gone, and another came
    find_duplicates(warehouse, 3, properties={})
    assert groups(warehouse) == {"s4": {"s4", "s5"}}
    partition = {"crawl_partition": "b"}
    expected = partition_files(warehouse.open(RAW_CRAWL), partition)
    replace_partition(warehouse, RAW_CRAWL, partition, [], expected=expected, properties={})
    find_duplicates(warehouse, 3, properties={})
    assert groups(warehouse) == {}
    assert {
        row["crawl_partition"]
        for row in read_rows(warehouse, "SELECT * FROM duplicate_pairs", tables=["duplicate_pairs"])
    } <= {"a", "c"}


def test_exact_and_near_are_told_apart(warehouse: Warehouse) -> None:
    base = 0x00FF00FF00FF00FF
    put(
        warehouse,
        "a",
        [("s1", base, "same"), ("s2", base, "same"), ("s3", base, "other bytes"), ("s4", flip(base, 5), "near")],
    )
    result = find_duplicates(warehouse, 3, properties={})
    rows = {row["sample_id"]: row for row in read_rows(warehouse, "SELECT * FROM duplicates", tables=["duplicates"])}
    assert {name: (row["exact_id"], row["distance"]) for name, row in rows.items()} == {
        "s1": ("s1", 0), "s2": ("s1", 0), "s3": ("s3", 0), "s4": ("s4", 1),
    }  # fmt: skip
    assert (result.groups, result.members, result.exact) == (1, 4, 1)


def test_the_same_sample_in_two_partitions_is_no_duplicate_of_itself(warehouse: Warehouse) -> None:
    put(warehouse, "a", [("s1", 5, "x")])
    put(warehouse, "b", [("s1", 5, "x")])
    find_duplicates(warehouse, 3, properties={})
    assert groups(warehouse) == {}


def test_an_unchanged_crawl_is_not_looked_at_again(warehouse: Warehouse) -> None:
    put(warehouse, "a", [("s1", 1, "x"), ("s2", 1, "y")])
    first = find_duplicates(warehouse, 3, properties={})
    inputs = duplicates_inputs(warehouse, 3)
    again = find_duplicates(warehouse, 3, properties={})
    assert (first.partitions_paired, again.partitions_paired, again.partitions_known, again.changed) == (1, 0, 1, False)
    assert duplicates_inputs(warehouse, 3) == inputs
    assert find_duplicates(warehouse, 2, properties={}).partitions_paired == 1


def test_a_thousand_times_the_same_picture(warehouse: Warehouse) -> None:
    put(warehouse, "a", [(f"s{number:04d}", 9, "x") for number in range(1000)])
    result = find_duplicates(warehouse, 3, properties={})
    assert (result.groups, result.members, result.exact) == (1, 1000, 999)

"""How far a step has got: rows, rates and time left; what an earlier run did does not count towards the rate."""

from __future__ import annotations

import pytest

from veclip_pipelines.captioning.stage_progress import ProgressMeter, clock


def test_rates_are_of_what_this_run_computed() -> None:
    now = [100.0]
    meter = ProgressMeter("vecap", "cc-1", 1000, 10, clock=lambda: now[0])
    meter.add(400, 3, 0, found=True)
    found = meter.progress()
    assert (found.rows_done, found.rows_left, found.rows_per_second, found.seconds_left) == (400, 600, 0.0, None)
    now[0] = 110.0
    meter.add(100, 2, 1700, found=False)
    done = meter.progress()
    assert (done.rows_done, done.rows_left, done.batches_done, done.batches_left) == (500, 500, 2, 8)
    assert (done.rows_per_second, done.tokens_per_second, done.seconds_left, done.rejected) == (10.0, 170.0, 50.0, 5)
    assert str(done) == "vecap cc-1: 500 of 1000 rows, 10.0 rows/s, 170 tokens/s, 50 s left, 5 rejected"


@pytest.mark.parametrize(("seconds", "text"), [(9.6, "10 s"), (185, "3 min 5 s"), (25920, "7 h 12 min")])
def test_time_as_a_person_reads_it(seconds: float, text: str) -> None:
    assert clock(seconds) == text

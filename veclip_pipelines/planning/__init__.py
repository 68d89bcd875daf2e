"""What is worked out before a run is launched: a partition's present inputs, which partitions are stale, what a run would cost.

Here: making a plan from the provenance and the present files, and putting a crawl partition back to an earlier content or
retiring it by the same records. Not here: launching any of it (assets/orchestration).
"""

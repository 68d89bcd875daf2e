"""What is worked out before a run is launched: a partition's present inputs, which partitions are stale, what a run would cost.

Here: making a plan from the provenance and the present files. Not here: launching it (assets/orchestration).
"""

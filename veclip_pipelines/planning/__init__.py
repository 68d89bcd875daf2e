"""What there is to do before a run is launched: the inputs a partition has now, which partitions are stale, what a run would cost.

Here: questions to the provenance and the present files that end in a plan. Not here: launching it (assets/orchestration).
"""

"""What happens to the assets: jobs, sensors, schedules, checks, backfills, takedowns, pruning, and launching from the command line.

A module may import assets and ``assets.shared``, and is imported by neither. What a job does to the data is a function of
veclip_pipelines: here it becomes a run, and Dagster is told of what it changed.
"""

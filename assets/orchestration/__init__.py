"""What happens to the assets: jobs, sensors, schedules, checks, backfills, takedowns, pruning, and launching from the command line.

A module here may import assets and ``assets.shared``, and neither may import it. What a job does to the data is a function in
veclip_pipelines: here it becomes a run, and what it changed is reported to Dagster.
"""

"""What Dagster's daemon does on a schedule."""

import dagster as dg

from assets.orchestration.jobs import audit_job
from assets.orchestration.pruning import prune
from assets.orchestration.takedowns import finish_takedowns

schedules = [
    dg.ScheduleDefinition(
        name="finish_takedowns_daily",
        job=finish_takedowns,
        cron_schedule="30 2 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Once a day: opt-outs become takedowns, and earlier contents are removed once their retention has ended.",
    ),
    dg.ScheduleDefinition(
        name="audit_daily",
        job=audit_job,
        cron_schedule="30 4 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Once a day, after the takedowns.",
    ),
    dg.ScheduleDefinition(
        name="prune_weekly",
        job=prune,
        cron_schedule="30 3 * * 0",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Once a week, with the job's default retention. Off until somebody turns it on.",
    ),
]

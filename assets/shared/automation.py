"""What Dagster starts by itself: a new crawl partition is carried through to vecap, and duplicates are looked for.

An edited prompt or engine profile starts nothing: it marks captions as stale, and a person decides whether 300 million
pictures are to be captioned again.
"""

import dagster as dg

_CONFIGURATION = dg.AssetSelection.groups("configuration")

#: Once all that a partition is made from is there, was checked and is not being made again.
CARRY_ON = (
    dg.AutomationCondition.eager().ignore(_CONFIGURATION)
    & dg.AutomationCondition.all_deps_blocking_checks_passed().ignore(_CONFIGURATION)
).with_label("carry a crawl partition on, checks passed, configuration apart")

#: After a wave of partitions, not after each of them; one that is missing or failed does not hold it up.
AFTER_A_WAVE = (
    dg.AutomationCondition.any_deps_updated().since_last_handled()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
).with_label("crawl partitions changed, and none is being indexed")

automation_sensor = dg.AutomationConditionSensorDefinition(
    "carry_on",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    emit_backfills=False,
    description="Carries new and changed crawl partitions on to vecap, and looks for duplicates after them.",
)

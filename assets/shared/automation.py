"""What Dagster starts automatically: a new crawl partition is materialised up to vecap, and duplicates are searched for.

An edited prompt or engine profile starts nothing: it marks captions as stale, and a person decides whether 300 million
pictures are to be captioned again.
"""

import dagster as dg

_CONFIGURATION = dg.AssetSelection.groups("configuration")

#: Once everything that a partition is made from exists, has passed its checks and is not being remade.
CARRY_ON = (
    dg.AutomationCondition.eager().ignore(_CONFIGURATION)
    & dg.AutomationCondition.all_deps_blocking_checks_passed().ignore(_CONFIGURATION)
).with_label("carry a crawl partition on, checks passed, configuration apart")

#: After a wave of partitions, not after each of them; a missing or failed partition does not hold it up.
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
    description="Materialises new and changed crawl partitions up to vecap, then searches for duplicates.",
)

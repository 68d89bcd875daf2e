"""The units that are backfilled and replaced as a whole: crawl partitions (one crawl drop each) and recipes.

A backfill makes one run per partition, which is Dagster's default (BackfillPolicy.multi_run(1)) and must stay so: in a
single-run range every partition gets the same metadata, and partitioned checks cannot read their partition key.
Samples are never partitions: Dagster's UI suffers at 40,000 partitions, and 100,000 is its ceiling.
"""

import dagster as dg

from veclip_pipelines.stages import CRAWL_PARTITION, RECIPE

crawl_partitions = dg.DynamicPartitionsDefinition(name=CRAWL_PARTITION)
recipe_partitions = dg.DynamicPartitionsDefinition(name=RECIPE)

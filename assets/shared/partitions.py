"""What is backfilled and replaced as a whole: crawl partitions (one crawl drop each) and recipes.

A backfill makes one run a partition, which is Dagster's default (BackfillPolicy.multi_run(1)) and must stay so: in a
single-run range every partition gets the same metadata, and partitioned checks cannot read their partition key.
Never by sample: Dagster's UI suffers at 40,000 partitions, and 100,000 is its ceiling.
"""

import dagster as dg

CRAWL = "crawl_partition"
RECIPE = "recipe"

crawl_partitions = dg.DynamicPartitionsDefinition(name=CRAWL)
recipe_partitions = dg.DynamicPartitionsDefinition(name=RECIPE)

#: Assets with a partition for each crawl partition, and for each recipe, upstream first.
CRAWL_ASSETS = ("raw_crawl", "concept_captions", "vecap")
RECIPE_ASSETS = ("training_sets", "checkpoints", "benchmark_scores")

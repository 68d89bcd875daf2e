"""What each Delta table is: columns with their Arrow types and meanings, partitioning, keys, and what its columns are made from.

Declarations alone. Which tables are stages of the graph stands in ``veclip_pipelines.stages``; what reads and writes them in ``tables``.
"""

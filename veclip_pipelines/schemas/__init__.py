"""What each Delta table is: columns with their Arrow types and meanings, partitioning, keys, and what its columns are made from.

Only declarations. Which tables are stages of the graph is in ``veclip_pipelines.stages``; reading and writing them in
``tables``.
"""

"""The lineage graph: one file an asset, which says what is its own: config, upstream, description, and the function that makes it.

An asset's body is short: read the partition, call one function of veclip_pipelines, return a MaterializeResult. How a thing is
made stands in veclip_pipelines. Asset files do not import one another: what several need is in ``shared``, and what Dagster
does with the assets is in ``orchestration``. Every asset in a module here is found by ``veclip_pipelines.definitions``.
"""

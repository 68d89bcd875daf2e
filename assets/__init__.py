"""The lineage graph: one file per asset, with what is specific to it: config, upstream, description, and the function that makes it.

An asset's body is short: read the partition, call one function of veclip_pipelines, return a MaterializeResult. How a thing is
made is in veclip_pipelines. Asset files do not import one another: what several need is in ``shared``, and what Dagster
does with the assets is in ``orchestration``. ``veclip_pipelines.definitions`` finds every asset in a module here.
"""

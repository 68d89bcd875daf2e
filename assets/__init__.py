"""The lineage graph: one file an asset, and what Dagster hangs on it.

An asset's body is short: read the partition, call one function of veclip_pipelines, return a MaterializeResult.
"""

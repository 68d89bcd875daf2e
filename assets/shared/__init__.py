"""What assets share in dealing with Dagster: partitions, metadata, provenance, progress, automation, and a factory of checks.

Nothing here is for one asset alone, and nothing here imports an asset. What does not need Dagster belongs in veclip_pipelines.
"""

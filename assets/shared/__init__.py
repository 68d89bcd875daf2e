"""What assets share towards Dagster: partitions, metadata, provenance of a materialisation, progress, automation, and the making of checks.

Nothing here is of one asset alone, and nothing here imports an asset. What does not need Dagster belongs in veclip_pipelines.
"""

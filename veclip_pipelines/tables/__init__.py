"""The warehouse: Delta tables with explicit schemas, one way to commit, and DuckDB over them to read.

Here: schemas, file layout, commits, queries. Not here: what a step computes.
"""

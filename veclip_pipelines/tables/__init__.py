"""The warehouse: Delta tables with explicit schemas, one way to commit, and DuckDB over them to read.

Here: file layout, commits, pins, provenance, queries. Not here: what the tables are (schemas), and what a step
computes.
"""

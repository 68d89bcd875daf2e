"""What was made from what: traces from a picture to the models trained on it and back, the lineage graph, and comparisons.

Here: questions to the provenance that change nothing. Not here: writing provenance (tables), and what is stale (planning).
"""

"""What was made from what: the provenance of each materialisation, and what is stale by it."""

"""Taking pictures out of everything: tables, shards, exports, what was trained on them marked, and proof that they are gone."""

"""Taking pictures out of everything: tables, shards and exports, with the checkpoints trained on them marked, and proof that they are gone.

Here: requests, their register, carrying them out, the search for remnants. Not here: how a shard's bytes are erased (crawl).
"""

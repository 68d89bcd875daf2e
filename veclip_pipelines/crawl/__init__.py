"""From a crawl drop to rows of raw_crawl.

Here: what a drop is, how its formats are read, what each entry becomes. Not here: captions.
"""

"""The paper's claim measured on a generated crawl: its scenes, a captioner for them, the runs, and their outcome.

Here: what only this experiment needs. Not here: crawling, captioning, training and scoring, which are the product's own.
"""

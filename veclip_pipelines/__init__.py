"""VeCLIP as a data platform: how each step from the raw crawl to the benchmark scores is done.

Nothing in this package imports dagster, save ``definitions`` (and the command line through ``assets``).
"""

__version__ = "0.1.0"

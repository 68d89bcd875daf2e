"""Benchmarks: what a checkpoint scores on them, and how.

Here: layouts of benchmarks, models of others that can be scored, metrics with their intervals, the scoreboard. Not here: training.
"""

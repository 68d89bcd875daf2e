"""Benchmarks: what a checkpoint scores, and how."""

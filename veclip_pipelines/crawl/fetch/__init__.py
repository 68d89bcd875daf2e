"""Fetching pictures that a drop only has URLs of: bounded in time, size and place, and refused where the owner says no."""

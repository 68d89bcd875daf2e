"""Side-by-side measurements: each runs us and a peer in turn on the same data and prints a ratio, above 1 where we are faster.

``python -m bench NAME``; results that the README quotes are kept in bench/results/.
"""

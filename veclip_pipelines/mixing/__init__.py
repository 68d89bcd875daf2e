"""Training sets: which samples a recipe takes, and with which texts at which probability.

Here: a recipe resolved for a warehouse, the selection, the set with its pins, its figures. Not here: training on it.
"""

"""Training sets: which samples a recipe takes, and with which texts at which probability."""

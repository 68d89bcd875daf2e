"""Training sets in the formats of others: webdataset as open_clip trains on it, DataComp's subsets, Hugging Face datasets.

Here: a format's writer, and the removal of samples from what it wrote. Not here: which samples a set has (mixing).
"""

"""Training sets in the formats of others: webdataset as open_clip trains on it, DataComp's subsets, Hugging Face datasets."""

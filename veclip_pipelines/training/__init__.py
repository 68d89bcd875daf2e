"""CLIP, trained on a training set: model, tokenizer, data, loop, ranks, and the record of what was shown.

Here: all that a training run needs. Not here: which samples and texts there are (mixing), and scores (evaluation).
"""

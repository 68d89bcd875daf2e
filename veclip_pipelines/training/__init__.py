"""CLIP, trained on a training set: model, tokenizer, data, loop. torch is imported by the modules in here alone."""

"""Concept captions and VeCap: what the engines are asked, how far their answers are trusted, what is written down.

Here: prompts filled in, guards, fallbacks, reuse of known captions, batches and their commit. Not here: the models (engines).
"""

"""Models behind one interface each for pictures and for text: a batch in, a batch out, with finish reasons.

Here: engines, their profiles, prompts and identity. Not here: what they are asked, and what is done with their answers
(captioning). A new engine is one file and one line in ``registry.py``.
"""

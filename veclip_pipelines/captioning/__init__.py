"""Concept captions and VeCap: what is asked of the engines, what is believed of their answers, what is written down."""

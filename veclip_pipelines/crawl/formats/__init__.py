"""Readers of the field's formats, one file a format. Each yields entries, and never raises for what a stranger put in.

``registry`` lists them; ``listing`` looks at a folder once for all of them.
"""

"""Readers of the field's formats, one file per format. Each yields entries, and never raises because of what a stranger's file holds.

``registry`` lists them; ``listing`` lists a folder once for all of them.
"""

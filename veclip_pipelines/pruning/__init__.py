"""Removing what is kept for ever otherwise: earlier contents of tables, scratch files of killed runs, tars nothing points into.

Here: files that nothing needs any more. Not here: what must go although it is needed, which is a takedown.
"""

"""The command line's commands, one module for each subject, and what they print.

They read through plain objects and change data only through Dagster runs. Not here: how anything is computed; a command calls it.
"""

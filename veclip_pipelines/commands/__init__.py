"""The command line's commands, by theme. They read through plain objects and change data only through Dagster runs."""

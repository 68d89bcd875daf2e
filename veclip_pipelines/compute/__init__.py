"""Where work runs: a Dask cluster, local or given by its address, and tasks that are spread over it or over threads.

Here: the Runner that all steps take, and how workers start. Not here: what a task does.
"""

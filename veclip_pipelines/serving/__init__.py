"""``veclip serve``: a small read-only web page of what the warehouse holds, for links and pictures in the Dagster UI.

Foreign text and pictures are shown here and not put into Dagster's event log, so that a takedown reaches them. Not here: anything
that changes data, and how what is shown is found out (lineage, reporting, takedown).
"""

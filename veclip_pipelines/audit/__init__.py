"""Whether the warehouse is what it claims to be: each check reads tables, files and records, and names what is wrong.

Here: the checks and what they share. Not here: mending what they find, and what is stale (planning).
"""

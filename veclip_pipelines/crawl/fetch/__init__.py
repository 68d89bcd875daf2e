"""Fetching pictures by their URLs: politely, within limits, and only from addresses on the public internet.

Here: the HTTP client, robots.txt and opt-out directives, address checks. Not here: which URLs are fetched, and rows.
"""

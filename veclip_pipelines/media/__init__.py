"""Single pictures and texts, and the files that hold them: decoding, hashing, cleaning, languages, reading from shards.

Here: functions of one picture, text or file. Not here: rows, tables, and decisions on what is kept.
"""

"""Pictures, texts and the files that hold them, each by itself: decoding, hashing, cleaning, languages, reading from shards.

Here: functions of one picture, text or file. Not here: rows, tables, and decisions about what is kept.
"""

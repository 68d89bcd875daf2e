"""The sample crawl: real pictures that ship in scientific packages, with AltText that this project wrote.

No third party's data is in this repository: the pictures are read from the installed packages.
"""

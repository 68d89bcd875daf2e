"""The sample crawl: real pictures that ship in scientific packages, with AltText that this project wrote.

Nothing of a third party is in this repository: the pictures are read from the installed packages.
"""

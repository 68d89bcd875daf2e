"""What the world outside gets to read of a training set or a checkpoint: a data card, Croissant, OpenLineage events.

Here: collecting and describing. Not here: turning a card into HTML (serving).
"""

"""What is told of a training set or a checkpoint outside: its data card, as a page, as Croissant, as OpenLineage events."""

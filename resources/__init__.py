"""What the graph runs on: thin ConfigurableResources, each of which returns a plain object that works without Dagster."""

"""What is kept for ever unless somebody takes it away: earlier contents, scratch of runs that were killed, Dagster's old runs."""

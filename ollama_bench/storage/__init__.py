"""results.db: its schema, its one writer, and output files that follow no links."""

"""The results file: its schema, connections and the one writer."""

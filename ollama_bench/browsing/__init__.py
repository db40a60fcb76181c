"""What Datasette shows beside the raw rows of a results file."""

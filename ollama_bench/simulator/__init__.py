"""A stand-in server and powermetrics; imports nothing of this package."""

"""The original study's CSV files, read and written."""

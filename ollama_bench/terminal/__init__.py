"""The terminal: the live screen and its tables, safe output, Ctrl-C. Imports no other room."""

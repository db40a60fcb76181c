"""Standard output and error, the live screen, and Ctrl-C."""

"""Root is kept for reading power alone; everything else runs as the user."""

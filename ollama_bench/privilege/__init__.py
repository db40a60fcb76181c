"""Root privileges: keep them for reading power alone, and do everything else as the user."""

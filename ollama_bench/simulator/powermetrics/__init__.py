"""A stand-in for macOS' powermetrics, for the machine that the simulator pretends to be."""

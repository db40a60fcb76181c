"""What the operating system tells and allows: memory, sleep, battery, low power mode."""

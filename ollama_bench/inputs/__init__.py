"""What the user hands in: options, TOML files, prompts and objectives."""

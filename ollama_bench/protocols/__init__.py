"""What the servers speak: bytes to chunks of text, requests to JSON bodies. No clock, no socket."""

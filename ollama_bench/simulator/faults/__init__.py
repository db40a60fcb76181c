"""Ways to misbehave: each changes one reply before it begins."""

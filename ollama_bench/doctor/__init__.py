"""Whether this machine and its servers are ready to measure, and what helps where not."""

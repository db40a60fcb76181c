"""One battery of checks against real servers: what the tool stores, held against their counters."""

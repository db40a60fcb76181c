"""Power sources: energy and power readings from every system and device that provides them."""

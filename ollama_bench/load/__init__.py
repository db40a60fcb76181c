"""One level of load: when requests leave, what becomes of each, what they add up to."""

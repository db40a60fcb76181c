"""Percentiles and intervals: pure functions of numbers, with their sources."""

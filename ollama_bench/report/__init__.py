"""The answer as text, pictures and one page."""

"""One run: its servers, its warm-up, its levels and what is kept of them."""

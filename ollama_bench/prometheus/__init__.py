"""What monitor.py shows to Prometheus."""

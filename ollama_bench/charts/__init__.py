"""Charts out of SQL rows."""

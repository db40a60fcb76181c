"""One load from several processes or machines: their clocks as one."""

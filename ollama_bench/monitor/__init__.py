"""The server's processes, the machine and its power while a run goes on."""

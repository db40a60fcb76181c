"""How runs begin in tests: the options of a short one, and its row in the results file."""

QUICK = [
    *("--cooldown", "0", "--idle", "0", "--warmup", "0"),
    *("--plain", "--no-monitor"),
]
RUN = {
    "source": "bench",
    "status": "running",
    "started_unix": 1e9,
    "arguments": "{}",
    "tool_version": "0",
}

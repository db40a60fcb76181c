"""Results without the control at the end of a run, which most tests do not ask for."""

LEVELS = "(SELECT id FROM main.level WHERE is_control IS NOT 1)"
VIEWS = (
    f"level AS SELECT * FROM main.level WHERE id IN {LEVELS}",
    f"request AS SELECT * FROM main.request WHERE level_id IN {LEVELS}",
    f"level_summary AS SELECT * FROM main.level_summary WHERE level_id IN {LEVELS}",
)


def hide_controls(connection, sql):
    """Let an unqualified table in a query be without controls, unless it names them."""
    columns = connection.execute("PRAGMA table_info(level)").fetchall()
    if "is_control" in sql or not any(
        c[1] == "is_control" for c in columns
    ):
        return
    for view in VIEWS:
        connection.execute(f"CREATE TEMP VIEW {view}")

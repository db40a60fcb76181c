"""Made-up runs of several servers: their requests in turn, each server at its own pace."""

from __future__ import annotations

import json

from ollama_bench.storage.connection import connect
from tests.support import made_up_results


def name_url(place):
    return f"http://127.0.0.1:{9000 + place}"


def write(path, hosts=2, balance="round-robin", **more):
    """Write a run whose requests went to the hosts in turn; return its number."""
    (run_id,) = made_up_results.write(path, **more)
    database = connect(path)
    first = one(
        database, "SELECT min(id) FROM target WHERE run_id = ?", run_id
    )
    columns = "run_id, api, server, model, slots"
    for place in range(1, hosts):
        database.execute(
            f"INSERT INTO target (host, {columns}) "
            f"SELECT '{name_url(place)}', {columns} FROM target WHERE id = ?",
            [first],
        )
        added = one(database, "SELECT max(id) FROM target WHERE ?", 1)
        database.execute(
            f"UPDATE request SET target_id = ? WHERE number % {hosts} = ? "
            "AND level_id IN (SELECT id FROM level WHERE run_id = ?)",
            [added, place, run_id],
        )
    database.execute(
        "UPDATE target SET host = ? WHERE id = ?", [name_url(0), first]
    )
    arguments = json.loads(
        one(database, "SELECT arguments FROM run WHERE id = ?", run_id)
    )
    arguments["host"] = [name_url(place) for place in range(hosts)]
    arguments["balance"] = balance if hosts > 1 else None
    database.execute(
        "UPDATE run SET arguments = ?, machine_id = 1 WHERE id = ?",
        [json.dumps(arguments), run_id],
    )
    database.execute(
        "UPDATE level SET balance = ? WHERE run_id = ?",
        [arguments["balance"], run_id],
    )
    database.close()
    return run_id


def slow_down(path, place, seconds):
    """Have all first tokens of a host come so much later."""
    database = connect(path)
    for column in ("first_text_ns", "first_answer_ns"):
        database.execute(
            f"UPDATE request SET {column} = {column} + ? WHERE target_id IN "
            "(SELECT id FROM target WHERE host = ?)",
            [int(seconds * 1e9), name_url(place)],
        )
    database.close()


def one(database, sql, value):
    return next(iter(database.execute(sql, [value])))[0]

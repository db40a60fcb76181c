"""A made-up run whose levels were asked with prompts of several lengths."""

from __future__ import annotations

from ollama_bench.storage.connection import connect
from tests.support import made_up_results

APART_NS = 2_000_000_000_000
INSTANTS = {
    "level": ("started_ns", "ended_ns"),
    "request": (
        *("sent_ns", "first_byte_ns", "first_text_ns", "first_answer_ns"),
        *("last_text_ns", "ended_ns"),
    ),
}


def write(
    path,
    rates=None,
    waits_s=None,
    levels=(1, 4),
    started_unix=1.7e9,
    **more,
):
    """Write a run in which each length has a rate, and a prefill of some seconds."""
    rates = rates or {500: 40.0, 4000: 15.0}
    waits_s = waits_s or {500: 0.2, 4000: 4.0}
    (run_id, *others) = [
        made_up_results.write(
            path,
            levels=levels,
            rate=rate,
            started_unix=started_unix + place,
            **more,
        )[0]
        for place, rate in enumerate(rates.values())
    ]
    database = connect(path)
    for place, (number, tokens) in enumerate(
        zip((run_id, *others), rates, strict=True)
    ):
        of_run = f"(SELECT id FROM level WHERE run_id = {number})"
        shift_ns = (place + 1) * APART_NS
        prefill_ns = int(waits_s[tokens] * 1e9)
        database.execute(
            f"UPDATE request SET asked_prompt_tokens = {tokens}, "
            f"prompt_tokens = {tokens}, server_prefill_ns = {prefill_ns}, "
            f"target_id = (SELECT id FROM target WHERE run_id = {run_id}), "
            f"sent_ns = sent_ns - {prefill_ns} "
            f"WHERE level_id IN {of_run}"
        )
        for table, names in INSTANTS.items():
            moves = ", ".join(
                f"{name} = {name} + {shift_ns}" for name in names
            )
            key = "id" if table == "level" else "level_id"
            database.execute(
                f"UPDATE {table} SET {moves} WHERE {key} IN {of_run}"
            )
        database.execute(
            f"UPDATE chunk SET at_ns = at_ns + {shift_ns} WHERE request_id IN "
            f"(SELECT id FROM request WHERE level_id IN {of_run})"
        )
        database.execute(
            f"UPDATE level SET asked_prompt_tokens = {tokens}, "
            f"run_id = {run_id} WHERE id IN {of_run}"
        )
    database.close()
    return run_id

"""A results.db of levels made by chance: every ending, cut replies, steady parts, unknowns."""

import random

from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.made_up_results import S, insert

ENDINGS = (
    "completed",
    "completed",
    "completed",
    "reset",
    "cancelled",
    "truncated",
    "in_flight",
)


def write(path, seed, levels=7, requests=30):
    """Write a run of random levels, beside one whose levels are plain."""
    chance = random.Random(seed)
    made_up_results.write(path, levels=(1, 2), tokens=9, failures=1)
    database = connect(path)
    database.execute("BEGIN")
    database.execute("UPDATE run SET status = 'interrupted'")
    now = 100 * S
    for place in range(levels):
        # one is large enough for p99
        count = chance.randint(1, requests) if place else 450
        now = write_level(database, chance, place + 3, now, count)
    for metric, bound, share in (
        ("ttft_s", 1.0, None),
        ("e2e_s", 3.0, None),
        ("tpot_s", 0.2, 0.5),
        ("tokens_per_s", 3.0, 0.9),
    ):
        if chance.random() < 0.7:
            insert(
                database,
                "objective",
                run_id=1,
                metric=metric,
                bound=bound,
                share=share,
            )
    database.execute("COMMIT")
    database.close()


def write_level(database, chance, concurrency, now, requests):
    length = chance.randint(S, 9 * S)
    steady = {}
    if chance.random() < 0.4:
        steady = {
            "steady_start_ns": now + length // 5,
            "steady_end_ns": now + length // 5 * 4,
            "load": "closed",
        }
    level_id = insert(
        database,
        "level",
        run_id=1,
        model="tiny:7b",
        concurrency=concurrency,
        status=chance.choice(("finished", "finished", "interrupted")),
        slept_s=chance.choice((None, 0, 0, 3)),
        started_ns=now,
        ended_ns=chance.choice((None, now + length, now + length)),
        **steady,
    )
    has_chunks = chance.random() < 0.8
    for number in range(1, requests + 1):
        write_request(
            database, chance, level_id, number, now, length, has_chunks
        )
    return now + length + S


def write_request(
    database, chance, level_id, number, now, length, has_chunks
):
    status = chance.choice(ENDINGS) if number > 1 else "completed"
    sent = now + chance.randrange(length)
    moments = sorted(
        sent + chance.choice((0, chance.randrange(length)))
        for _ in range(chance.randint(1, 30))
    )
    is_begun = status != "in_flight" and (
        status == "completed" or chance.random() < 0.5
    )
    row = {
        "level_id": level_id,
        "target_id": 1,
        "number": number,
        "status": status,
        "sent_ns": sent if chance.random() < 0.95 else None,
        "due_ns": chance.choice((None, sent - chance.randrange(S))),
        "ended_ns": moments[-1] + chance.randrange(S),
    }
    if status == "in_flight":
        row["ended_ns"] = None
    if is_begun:
        row |= {
            "sent_ns": sent,
            "first_text_ns": moments[0],
            "first_answer_ns": chance.choice((None, moments[-1])),
            "last_text_ns": moments[-1],
            "chunks": len(moments),
            "prompt_tokens": 30,
            "output_tokens": chance.choice(
                (None, 0, 1, len(moments), 2 * len(moments))
            ),
            "output_tokens_source": chance.choice(
                (None, "server", "chunks", "words")
            ),
            "prompt_cut": chance.choice((None, 0, 0, 1)),
            "reply_cut": chance.choice((None, 0, 0, 0)),
        }
    request_id = insert(database, "request", **row)
    for place, at_ns in enumerate(
        moments if is_begun and has_chunks else ()
    ):
        insert(
            database,
            "chunk",
            request_id=request_id,
            number=place,
            at_ns=at_ns,
            is_reasoning=0,
        )

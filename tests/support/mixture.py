"""A made-up file of one run of long prompts among short ones."""

from __future__ import annotations

from ollama_bench.storage.connection import connect
from tests.support import made_up_results
from tests.support.studies import change

S = 1_000_000_000
# every 10 s a long prompt is evaluated for 2 s
WINDOWS = [((10 * k + 4) * S, (10 * k + 6) * S) for k in range(6)]


def is_inside(at_ns):
    return any(start <= at_ns < end for start, end in WINDOWS)


def stream(first_ns, end_ns, slow_s):
    """Instants of a stream: a token every 0.1 s, and slow_s beside a long prompt."""
    at_ns = first_ns
    while at_ns < end_ns:
        yield at_ns
        at_ns += int((slow_s if is_inside(at_ns) else 0.1) * S)


def write(path):
    """Write a level of a mixture, whose others get a token in 0.5 s beside a long prompt."""
    made_up_results.write(path, levels=(1,), chunks=False)
    change(
        path,
        "DELETE FROM chunk",
        "DELETE FROM reply",
        "DELETE FROM request",
        "UPDATE level SET prompt_mix = '500*9,8000*1', load = 'closed'",
    )
    database = connect(path)

    def add(number, tokens, sent_ns, first_ns, last_ns, **more):
        return made_up_results.insert(
            database,
            "request",
            level_id=1,
            number=number,
            status="completed",
            asked_prompt_tokens=tokens,
            sent_ns=sent_ns,
            first_text_ns=first_ns,
            last_text_ns=last_ns,
            ended_ns=last_ns,
            output_tokens=60,
            **more,
        )

    for k, (start_ns, end_ns) in enumerate(WINDOWS):
        # it waited 1 s for a slot before
        add(
            10 * k + 1,
            8000,
            start_ns - S,
            end_ns,
            end_ns + S,
            server_prefill_ns=end_ns - start_ns,
        )
        # asked before, and while, the long prompt is evaluated
        for place, (sent_s, wait_s) in enumerate(((1, 0.2), (4.5, 1.6))):
            sent_ns = (10 * k) * S + int(sent_s * S)
            first_ns = sent_ns + int(wait_s * S)
            instants = [*stream(first_ns, (10 * k + 9) * S, 0.5)]
            request_id = add(
                10 * k + 2 + place, 500, sent_ns, first_ns, instants[-1]
            )
            for number, at_ns in enumerate(instants):
                made_up_results.insert(
                    database,
                    "chunk",
                    request_id=request_id,
                    number=number,
                    at_ns=at_ns,
                    is_reasoning=0,
                )
    database.close()

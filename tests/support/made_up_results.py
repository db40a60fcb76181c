"""A results.db written by hand: a server of known speed, with what a test wants to see in it."""

import json
import random
from pathlib import Path

from ollama_bench.storage import schema
from ollama_bench.storage.connection import connect

S = 1_000_000_000
GIB = 1 << 30
REASONING, ANSWER = "Hm.", "Time is <what> clocks show."


# the schema and arguments of a new file: its bytes, and ids of its runs
_written = {}


def write(path, *arguments, **options):
    """Add runs to a file; return their ids. What they are made of: see add_runs.

    A new file like one that was made before is a copy of that.
    """
    path = Path(path)
    if path.exists():
        return add_runs(path, *arguments, **options)
    key = repr((schema.SCHEMA, arguments, options))
    if key not in _written:
        ids = add_runs(path, *arguments, **options)
        _written[key] = path.read_bytes(), ids
        return list(ids)
    data, ids = _written[key]
    path.write_bytes(data)
    return list(ids)


def add_runs(
    path,
    model="tiny:7b",
    levels=(1, 2, 4, 8, 32),
    slots=4,
    rate=40.0,
    failures=0,
    watts=(5.0, 20.0),
    chunks=True,
    simulated=1,
    label=None,
    started_unix=1_760_000_000.0,
    seed=1,
    runs=1,
    error="connection <b>reset</b>",
    tokens=60,
):
    """Add runs: `tokens` tokens a request, at `rate` shared by up to `slots` streams."""
    database = connect(path)
    database.execute("BEGIN")
    ids = [
        write_run(
            database,
            random.Random(seed + i),
            model,
            levels,
            slots,
            rate,
            failures,
            watts,
            chunks,
            simulated,
            label,
            started_unix + 5000 * i,
            error,
            tokens,
        )
        for i in range(runs)
    ]
    database.execute("COMMIT")
    database.close()
    return ids


def write_run(
    database,
    chance,
    model,
    levels,
    slots,
    rate,
    failures,
    watts,
    chunks,
    simulated,
    label,
    started_unix,
    error,
    tokens,
):
    machine_id = insert(
        database,
        "machine",
        fingerprint=f"{model} {label} {started_unix}",
        chip="Apple M9 <Pro>",
        model="Mac99,1",
        cpu_cores=12,
        memory_bytes=32 * GIB,
        gpu="Apple M9",
        gpu_cores=19,
        os="macOS 99 arm64",
    )
    run_id = insert(
        database,
        "run",
        label=label,
        source="bench",
        status="finished",
        simulated=simulated,
        started_unix=started_unix,
        arguments=json.dumps({"levels": list(levels), "model": [model]}),
        command=f"bench.py {','.join(map(str, levels))} --model {model}",
        tool_version="1.0",
        python_version="3.11",
        machine_id=machine_id,
        idle_start_ns=0,
        idle_end_ns=5 * S,
    )
    target_id = insert(
        database,
        "target",
        run_id=run_id,
        host="http://127.0.0.1:11434",
        api="ollama",
        server="ollama",
        server_version="0.99",
        model=model,
        family="tiny",
        parameter_size="7.6B",
        quantization="Q4_K_M",
        thinks=1,
        context_tokens=4096,
        size_bytes=5 * GIB,
        vram_bytes=4 * GIB,
        slots=slots,
        slots_source="/api/ps",
    )
    source_id = insert(
        database,
        "power_source",
        run_id=run_id,
        name="powermetrics",
        device="soc",
        kind="interval",
        scope="CPU, GPU and ANE",
        status="ok",
    )
    process_id = insert(
        database,
        "process",
        run_id=run_id,
        pid=4242,
        role="runner",
        name="ollama",
    )
    now = 5 * S
    for n in levels:
        now = (
            write_level(
                database,
                chance,
                run_id,
                target_id,
                model,
                n,
                slots,
                rate,
                failures if n == max(levels) else 0,
                chunks,
                now,
                error,
                tokens,
            )
            + 2 * S
        )
    for second in range(now // S):
        busy = second >= 5
        energy_j = watts[1] if busy else watts[0]
        insert(
            database,
            "power_sample",
            source_id=source_id,
            start_ns=second * S,
            end_ns=(second + 1) * S,
            energy_j=energy_j,
            gpu_energy_j=energy_j * 0.8,
            cpu_energy_j=energy_j * 0.2,
            gpu_busy_ratio=0.97 if busy else 0.01,
            gpu_mhz=1398.0 if busy else 444.0,
            thermal="Nominal",
        )
        insert(
            database,
            "process_sample",
            process_id=process_id,
            at_ns=second * S + S // 2,
            cpu_s=second * 0.5,
            cpu_ratio=0.5,
            memory_ratio=0.1,
            rss_bytes=3 * GIB + second * 1000,
            vms_bytes=9 * GIB,
            threads=20,
            fds=30 + second % 3,
        )
        insert(
            database,
            "system_sample",
            run_id=run_id,
            at_ns=second * S + S // 2,
            cpu_ratio=0.2,
            memory_used_bytes=12 * GIB,
            swap_used_bytes=0,
        )
    database.execute(
        "UPDATE run SET ended_ns = ? WHERE id = ?", [now, run_id]
    )
    return run_id


def write_level(
    database,
    chance,
    run_id,
    target_id,
    model,
    n,
    slots,
    rate,
    failures,
    chunks,
    now,
    error,
    tokens,
):
    level_id = insert(
        database,
        "level",
        run_id=run_id,
        model=model,
        concurrency=n,
        cache="cold",
        status="finished",
        started_ns=now,
        itl_chunks=n * tokens,
        itl_mean_s=min(n, slots) / rate,
        itl_p50_s=min(n, slots) / rate,
        itl_p95_s=1.2 * min(n, slots) / rate,
        itl_p99_s=1.3 * min(n, slots) / rate,
        itl_max_s=1.5 * min(n, slots) / rate,
        client_limited=0,
        client_cpu_ratio=0.1,
    )
    free = [now] * slots
    for number in range(1, n + 1):
        request = {
            "level_id": level_id,
            "target_id": target_id,
            "number": number,
            "sent_ns": now,
        }
        if number <= failures:
            insert(
                database,
                "request",
                **request,
                status="reset",
                error=error,
                ended_ns=now + S // 2,
            )
            continue
        begin = min(free)
        gap = int(S * min(n, slots) / rate * chance.uniform(0.95, 1.05))
        first = begin + S // 5
        last = first + gap * (tokens - 1)
        free[free.index(begin)] = last
        request_id = insert(
            database,
            "request",
            **request,
            status="completed",
            http_status=200,
            done_reason="stop",
            first_byte_ns=first,
            first_text_ns=first,
            first_answer_ns=first + gap * (tokens // 3),
            last_text_ns=last,
            ended_ns=last + S // 1000,
            chunks=tokens,
            reasoning_chunks=tokens // 3,
            output_tokens=tokens,
            output_tokens_source="server",
            prompt_tokens=30,
            cached_tokens=0,
            server_total_ns=last - now,
            server_load_ns=S // 50,
            server_prefill_ns=S // 6,
            server_decode_ns=last - first,
        )
        insert(
            database,
            "reply",
            request_id=request_id,
            reasoning=REASONING,
            answer=ANSWER,
        )
        for place in range(tokens if chunks else 0):
            insert(
                database,
                "chunk",
                request_id=request_id,
                number=place,
                at_ns=first + gap * place + chance.randrange(gap // 4),
                is_reasoning=int(place < tokens // 3),
                characters=count_characters(place, tokens),
            )
    end = max(max(free), now + S)
    database.execute(
        "UPDATE level SET ended_ns = ? WHERE id = ?", [end, level_id]
    )
    return end


def count_characters(place, tokens):
    """One in each chunk, until the reasoning or the answer is over; its last has the rest."""
    begin, end = 0, tokens // 3
    text = REASONING
    if place >= end:
        begin, end, text = end, tokens, ANSWER
    if place == end - 1:
        return max(0, len(text) - (place - begin))
    return int(place - begin < len(text))


def insert(database, table, **row):
    return database.execute(
        f"INSERT INTO [{table}] ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
        list(row.values()),
    ).lastrowid

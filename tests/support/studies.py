"""Studies for tests: read from a made-up file, or made of a few figures."""

from __future__ import annotations

from ollama_bench.analysis import selection
from ollama_bench.analysis.answers import find_answer
from ollama_bench.analysis.service import measure_service
from ollama_bench.inputs.objectives import parse
from ollama_bench.storage.connection import connect

SLO = parse("ttft=10,tokens_per_s=10")


# of the published study, 7B and 1.5B: at once, tokens/s of all
THROUGHPUT = {
    "7b": {
        1: 50.9,
        2: 60.8,
        4: 71.6,
        8: 90.5,
        16: 115.2,
        19: 124.4,
        32: 102.7,
        38: 124.5,
        57: 120.2,
        64: 111.4,
        128: 112.0,
        256: 114.6,
    },
    "1.5b": {
        1: 137.4,
        4: 171.0,
        8: 216.3,
        16: 280.2,
        19: 269.9,
        32: 298.9,
        39: 247.9,
        57: 271.0,
        64: 280.5,
        78: 254.8,
        128: 265.7,
        256: 282.1,
    },
}


GPU_ALONE = "UPDATE power_sample SET energy_j = NULL, cpu_energy_j = NULL, gpu_energy_j = 16.0"


def read(path, *changes):
    """The only study of a file after some changes, and its answers."""
    database = connect(path)
    for sql in changes:
        database.execute(sql)
    study = selection.choose(database, [], [])[0]
    services = measure_service(database, study, SLO)
    database.close()
    return study, " ".join(find_answer(study, SLO, services).lines)


def made_of(rates=None, waits=None, **columns):
    """A study with a level for each concurrency, of these figures only."""
    levels = [
        {
            "concurrency": n,
            "repeat": 1,
            "level_id": place,
            "run_id": 1,
            "status": "finished",
            "cache": "cold",
            "slept_s": None,
            "hot_samples": None,
            "mean_gpu_mhz": None,
            "tokens_per_s_mean": None,
            "errors": 0,
            "requests": n,
            "completed": n,
            "judged_completed": n,
            "in_flight": 0,
            "output_tokens_per_s": (rates or {}).get(n),
            "full_load_tokens_per_s": (rates or {}).get(n),
            "output_tokens_mean": 60.0,
            "ttft_mean_s": (waits or {}).get(n),
        }
        | {column: values.get(n) for column, values in columns.items()}
        for place, n in enumerate(rates or waits)
    ]
    return selection.Study(
        "tiny:7b", [], levels, [], {"cpu_cores": 8}, [], [], [], {}
    )


def change(path, *statements):
    database = connect(path)
    for sql in statements:
        database.execute(sql)
    database.close()

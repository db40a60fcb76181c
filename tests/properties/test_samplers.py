"""What the samplers of power and system_profiler print."""

import json
import math
import plistlib
from contextlib import closing

from hypothesis import example, given
from hypothesis import strategies as st

from ollama_bench.monitor import gpus, powermetrics_log
from ollama_bench.power.macmon import parse_macmon
from ollama_bench.power.powermetrics_plist import parse_plist
from ollama_bench.power.powermetrics_text import parse_text
from ollama_bench.storage.connection import connect
from tests.properties.values import (
    DEEP,
    VALUES,
    can_be_stored,
    one_line,
    or_value_error,
)

SAMPLE = [
    "energy_j",
    "gpu_energy_j",
    "cpu_energy_j",
    "gpu_busy_ratio",
    "gpu_mhz",
    "thermal",
    "elapsed_ns",
]


def check_sample(sample):
    for name, value in sample.items():
        assert value is None or can_be_stored(value), name
        assert (
            not isinstance(value, (int, float))
            or name == "at_unix"
            or 0 <= value < math.inf
        ), name


RAILS = st.dictionaries(
    st.sampled_from(
        [
            "cpu_energy",
            "gpu_energy",
            "ane_energy",
            "cpu_power",
            "gpu_power",
            "package_joules",
            "idle_ratio",
            "freq_hz",
        ]
    ),
    st.integers(-(2**63), 2**63) | st.floats() | st.text(alphabet="abc"),
)
PLISTS = st.fixed_dictionaries(
    {},
    optional={
        "elapsed_ns": st.integers(-5, 2**64 - 1)
        | st.floats()
        | st.text(alphabet="abc"),
        "processor": RAILS,
        "gpu": RAILS,
        "thermal_pressure": st.text(alphabet="Nominal") | RAILS,
    },
).map(plistlib.dumps)


@given(
    st.binary()
    | PLISTS
    | st.tuples(PLISTS, st.integers(0, 2000)).map(
        lambda pair: pair[0][: pair[1]]
    )
)
@example(b"</array>" * 3 + b"<array>")
@example(b"<plist><dict><key>a\nb</key></dict></plist>")
@example(plistlib.dumps({"elapsed_ns": 0.5}))
@example(plistlib.dumps({"elapsed_ns": 2**64 - 1, "gpu": {}}))
@example(
    plistlib.dumps(
        {
            "elapsed_ns": 1,
            "processor": {"cpu_energy": 1e308, "gpu_energy": 1e308},
            "gpu": {},
        }
    )
)
@example(
    plistlib.dumps(
        {"elapsed_ns": 10**9, "processor": {}, "gpu": {}},
        fmt=plistlib.FMT_BINARY,
    )
)
@example(
    plistlib.dumps({"elapsed_ns": 10**9, "thermal_pressure": {"a": 1}})
)
def test_powermetrics_plist(document):
    sample = or_value_error(parse_plist, document)
    if sample is not None:
        assert sample["elapsed_ns"] > 0
        check_sample(sample)


HEADER = "*** Sampled system activity (%s) (%sms elapsed) ***\n"
STAMP = "Sat Nov  1 10:00:00 2025 +0100"
STAMPS = st.sampled_from(
    [
        STAMP,
        "Mon Jan  1 00:00:00 0001 +2359",
        "Fri Dec 31 23:59:59 9999 -2359",
        "Sat Nov 31 10:00:00 2025 +0100",
        "",
        "e",
    ]
)
FIGURES = (
    st.floats(0, 1e19).map(repr)
    | st.integers(0, 10**4).map(str)
    | st.text(alphabet="0123456789.e+", min_size=1, max_size=8)
    | st.sampled_from(
        [
            "9" * 17,
            "9" * 400,
            "1e999",
            "1.2.3",
            "e",
            ".",
            "0",
            ".97",
            "0.0000001",
            "Nominal",
        ]
    )
)
ELAPSED = st.integers(1, 5000).map("{}.00".format) | FIGURES
WORDS = st.sampled_from(
    [
        "CPU Power: %s mW\n",
        "GPU Power: %s mW\n",
        "ANE Power: %s mW\n",
        "GPU idle residency: %s%%\n",
        "GPU HW active frequency: %s MHz\n",
        "package power (CPU): %sW\n",
        "Current pressure level: %s\n",
    ]
)
LINES = st.lists(
    st.tuples(WORDS, FIGURES).map(lambda pair: pair[0] % pair[1]),
    max_size=5,
).map("".join)
BLOCKS = st.tuples(
    st.tuples(STAMPS, ELAPSED).map(lambda pair: HEADER % pair), LINES
).map("".join)
LOGS = (
    st.text()
    | LINES
    | st.lists(BLOCKS, min_size=1, max_size=6).map("".join)
)


def header(elapsed_ms):
    return HEADER % (STAMP, elapsed_ms)


@given(LOGS)
@example(header("9" * 400))
@example(header("9" * 17))
@example(header("1") + "GPU Power: 1e999 mW\n")
@example(header("1.2.3"))
@example(header("1") + "CPU Power: e mW\n")
@example("GPU Power: 1.2.3 mW\n")
def test_powermetrics_text(log):
    for sample in parse_text(log):
        check_sample(sample)


@given(
    LOGS.map(lambda log: log.encode("utf-8", "replace"))
    | st.lists(PLISTS, max_size=4).map(b"\n\0".join)
)
@example((header("9" * 11) * 11).encode())
@example(
    b"\n\0".join(
        [plistlib.dumps({"elapsed_ns": 9 * 10**17, "gpu": {}})] * 11
    )
)
@example(plistlib.dumps({"elapsed_ns": 2**63}))
def test_a_log_of_powermetrics_is_stored_or_refused_in_one_line(
    tmp_path_factory, log
):
    top = tmp_path_factory.mktemp("log")
    (top / "log").write_bytes(log)
    try:
        powermetrics_log.import_log(
            str(top / "log"), str(top / "results.db")
        )
    except powermetrics_log.LogError as error:
        assert one_line(error)
        return
    with closing(
        connect(top / "results.db", readonly=True).conn
    ) as connection:
        stored, promised, length = connection.execute(
            "SELECT count(*), max(samples), max(ended_ns) FROM run, power_source, power_sample"
        ).fetchone()
        assert (
            stored == promised > 0
            and connection.execute(
                "SELECT max(end_ns) FROM power_sample"
            ).fetchone()[0]
            == length
        )
        assert connection.execute(
            "SELECT count(*) FROM gpu_metrics"
        ).fetchone()


@given(
    st.binary()
    | st.dictionaries(
        st.sampled_from(
            ["all_power", "gpu_power", "gpu_usage", "temp", "gpu_freq_mhz"]
        ),
        VALUES,
    )
    .map(json.dumps)
    .map(str.encode)
)
@example(DEEP.encode())
@example(b'{"gpu_usage": 7}')
@example(b'{"gpu_usage": [1]}')
@example(b'{"gpu_usage": {"a": 1}}')
@example(b'{"all_power": 1%s}' % (b"0" * 400))
def test_macmon(line):
    sample = or_value_error(parse_macmon, line)
    if sample is not None:
        check_sample(sample)


@given(
    st.text()
    | VALUES.map(json.dumps)
    | st.lists(
        VALUES
        | st.dictionaries(
            st.sampled_from(["sppci_model", "sppci_cores"]), VALUES
        ),
        max_size=3,
    ).map(lambda cards: json.dumps({"SPDisplaysDataType": cards}))
)
@example('{"SPDisplaysDataType": [{"sppci_cores": "²"}]}')
@example('{"SPDisplaysDataType": [7, {"sppci_model": ["x"]}]}')
@example(DEEP)
def test_system_profiler(text):
    for gpu in gpus.parse_displays(text):
        assert can_be_stored(gpu.name) and (
            gpu.cores is None or can_be_stored(gpu.cores)
        )

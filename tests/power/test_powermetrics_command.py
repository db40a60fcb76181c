"""The command line that is started as root."""

from ollama_bench.power.powermetrics_command import build_arguments


def test_powermetrics_is_called_absolutely_and_without_files():
    assert build_arguments() == [
        "/usr/bin/powermetrics",
        "--samplers",
        "cpu_power,gpu_power,thermal",
        "-f",
        "plist",
        "-b",
        "0",
        "-i",
        "1000",
    ]

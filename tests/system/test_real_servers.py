"""The battery for real servers: what it reads of them, and that it finds what is wrong."""

import pytest

from benchmarks import bench_real
from benchmarks.real_servers.counters import parse_counters
from benchmarks.real_servers.settings import SettingsError, read_settings

LLAMA = """\
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 813
llamacpp:tokens_predicted_total 928
llamacpp:predicted_tokens_seconds 101.5
"""
VLLM = """\
vllm:prompt_tokens_total{engine="0",model_name="tiny"} 3471.0
vllm:generation_tokens_total{engine="0",model_name="tiny"} 1824.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="tiny"} 3.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="tiny"} 54.0
"""
SERVER = """
[[server]]
name = "simulated"
url = "{url}"
api = "ollama"
model = "deepseek-r1:7b"
slots = {slots}
"""


def test_the_counters_of_llama_server_and_of_vllm():
    llama, vllm = parse_counters(LLAMA), parse_counters(VLLM)
    assert llama.values == {"output_tokens": 928, "prompt_tokens": 813}
    assert not llama.counts_cached and vllm.counts_cached
    assert vllm.values == {
        "output_tokens": 1824,
        "prompt_tokens": 3471,
        "requests": 57,
    }
    assert parse_counters("go_goroutines 7\n") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no server"),
        ("[[server]]\nurl = 'x'\n", "missing"),
        ("[[server]]\nslot = 4\n", "invalid key 'slot': expected one of"),
        ("[[server", "cannot read"),
    ],
)
def test_a_bad_file_is_one_line(text, words, tmp_path, capsys):
    path = tmp_path / "servers.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=words):
        read_settings(path)
    assert bench_real.main([str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.faults
@pytest.mark.parametrize(("slots", "is_wrong"), [(2, False), (1, True)])
def test_the_battery_finds_a_wrong_number_of_slots(
    slots, is_wrong, tmp_path, capsys, sim
):
    served = sim("--slots", "2", "--ttft", "20", "--itl", "2")
    path = tmp_path / "servers.toml"
    path.write_text(SERVER.format(url=served.url, slots=slots))
    found = bench_real.main([str(path), "--only", "burst"])
    out = capsys.readouterr().out
    wrong = [line for line in out.splitlines() if "WRONG" in line]
    assert found == bool(wrong)
    # the other figures may be off on a busy machine
    assert any("answered at once" in line for line in wrong) is is_wrong


@pytest.mark.faults
def test_the_battery_presses_ctrl_c_once_a_reply_has_ended(
    tmp_path, capsys, sim
):
    served = sim("--slots", "2", "--ttft", "1500", "--itl", "2")
    path = tmp_path / "servers.toml"
    path.write_text(SERVER.format(url=served.url, slots=2))
    assert bench_real.main([str(path), "--only", "interrupt"]) == 0
    out = capsys.readouterr().out
    assert "WRONG" not in out and "| Ctrl-C | completed |" in out

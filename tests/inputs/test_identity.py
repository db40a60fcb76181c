"""Which options make a run another one: --resume continues a run of the same identity."""

from ollama_bench.inputs import options
from ollama_bench.inputs.command_line import parse


def test_a_share_is_part_of_what_is_measured_and_none_is_as_it_was():
    plain = parse(["1", "--slo", "ttft=2"]).identity["slo"]
    assert plain == {"ttft": 2.0}  # as runs before shares have it
    shared = parse(["1", "--slo", "ttft=2@99"]).identity["slo"]
    assert shared == {"ttft": "2@99"}


def test_what_is_not_measured_does_not_change_the_identity(monkeypatch):
    """--resume continues a run of the same measured options."""
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    plain = parse(["1,2", "--model", "m"]).identity
    unmeasured = [
        "--plain",
        "--db",
        "x.db",
        "--label",
        "x",
        "--resume",
        "--report",
        "--pull",
    ]
    assert (
        parse(
            ["1,2", "--model", "m", *unmeasured, "--fail-if", "ttft>2"]
        ).identity
        == plain
    )
    for argv in (
        ["--seed", "2"],
        ["--tokens", "9"],
        ["--idle", "0"],
        ["--host", "a"],
    ):
        assert parse(["1,2", "--model", "m", *argv]).identity != plain
    assert parse(["1,2,3", "--model", "m"]).identity != plain


def test_every_option_says_whether_it_is_measured():
    measured = {
        option.name for option in options.ALL if option.is_measured
    }
    kept = {
        "db",
        "label",
        "resume",
        "plain",
        "live",
        "fleet",
        "fleet_insecure",
        "watch",
        "pid",
        "no_monitor",
        "demo",
        "pull",
        "config",
    }
    kept |= {"report", "fail_if", "self_check"}
    assert measured.isdisjoint(kept) and measured | kept == set(
        options.BY_NAME
    )

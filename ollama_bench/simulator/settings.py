"""The machines that can be simulated, and the settings of one server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# how the simulator is called in help and error messages
PROGRAM = "ollama-bench simulate"
# connections waiting to be accepted: a burst must not be refused
BACKLOG = 2048


class SimulatorError(Exception):
    """The simulator cannot run; str() is one line for the user."""


@dataclass(frozen=True)
class Profile:
    """A machine with a model on it."""

    model: str
    parameters: str
    slots: int | None  # requests served at a time; None is unlimited
    # tokens/s of one stream by the number of streams
    rates: Mapping[int, float] | None
    prefill_s: float  # of a prompt as short as the study's
    # evaluated beyond that; None: prompts cost nothing
    prefill_tokens_per_s: float | None
    load_s: float
    tokens: tuple[int, int]  # shortest and longest reply
    gpu_busy_w: float
    busy_mhz: int


PROFILES = {
    # A Mac mini M2 Pro, as measured in a published study.
    "m2pro-7b": Profile(
        model="deepseek-r1:7b",
        parameters="7.6B",
        slots=19,
        rates={1: 53.1, 2: 30.7, 4: 19.9, 8: 12.9, 16: 9.8, 19: 9.1},
        prefill_s=0.3,
        prefill_tokens_per_s=340,
        load_s=2.0,
        tokens=(1250, 2850),
        gpu_busy_w=20.0,
        busy_mhz=1396,
    ),
    "m2pro-1.5b": Profile(
        model="deepseek-r1:1.5b",
        parameters="1.8B",
        slots=19,
        rates={1: 130, 2: 90, 4: 64.5, 8: 41.4, 16: 27.5, 19: 26},
        prefill_s=0.12,
        prefill_tokens_per_s=1500,
        load_s=1.0,
        tokens=(200, 2700),
        gpu_busy_w=14.4,
        busy_mhz=1395,
    ),
    # Each stream has its own pace: the first token after --ttft, then one every --itl.
    "exact": Profile(
        model="deepseek-r1:7b",
        parameters="7.6B",
        slots=None,
        rates=None,
        prefill_s=0,
        prefill_tokens_per_s=None,
        load_s=0,
        tokens=(100, 100),
        gpu_busy_w=20.0,
        busy_mhz=1396,
    ),
}


# how /v1/models answers: with every model, with none, with no body, with
# something else, not at all
MODEL_LISTS = ("whole", "none", "empty", "broken", "missing")


@dataclass(frozen=True)
class Settings:
    """What one server was asked to be."""

    port: int
    profile: Profile
    models: tuple[str, ...]
    # the name by which it answers OpenAI requests for any model
    answers_as: str | None
    model_list: str  # one of MODEL_LISTS
    slots: int
    queue: int | None  # requests that may wait; None is unlimited
    tokens: tuple[int, int]
    ttft_ms: float
    itl_ms: float
    speed: float
    seed: int
    thinks: bool
    # as given on the command line; each names a known fault
    faults: tuple[str, ...]
    api_key: str | None
    tls: tuple[str, str] | None  # certificate and key, PEM files
    log: str | None
    report: bool
    parent_pid: int | None

    @property
    def is_exact(self) -> bool:
        """Whether each stream has its own pace, whatever the others do."""
        return self.profile.rates is None


def complete_name(model: str) -> str:
    """Return the name of a model with its tag, as Ollama lists it."""
    return model if ":" in model else model + ":latest"

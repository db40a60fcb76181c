"""Conditions of --fail-if: a bound on a figure of a level, or on a change between two runs."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ollama_bench.terminal.command_line import name_program

COLUMNS = {  # metric: column of level_summary or energy_summary
    "ttft": "ttft_mean_s",
    "tokens_per_s": "tokens_per_s_mean",
    "e2e": "e2e_mean_s",
    "error_ratio": "error_ratio",
    "output_tokens_per_s": "output_tokens_per_s",
    "joules_per_token": "joules_per_output_token",
    "gpu_joules_per_token": "gpu_joules_per_output_token",
}
# metrics that a comparison shows, with their names in its table
COMPARED = {
    "ttft": "wait (s)",
    "tokens_per_s": "tokens/s each",
    "output_tokens_per_s": "tokens/s all",
    "joules_per_token": "J/token",
    "gpu_joules_per_token": "GPU J/token",
}
FIGURE_NAMES = """
requests in_flight in_flight_mean in_flight_peak patience_s abandoned think_time_s think_mean_s
asked_prompt_tokens people_law people_law_low people_law_high wasted_tokens
completed judged_completed errors error_ratio good_requests good_ratio
good_ratio_low good_ratio_high
undecided_requests offered_per_s answered_per_s saturated tokens_per_chunk
queue_growth_per_s queue_growth_low_per_s queue_growth_high_per_s
goodput_per_s requests_per_s duration_s peak_streaming pool_waits never_sent rate_per_s arrival_cv
ttft_mean_s ttft_p50_s ttft_p95_s ttft_p99_s ttft_max_s ttfat_mean_s ttft_mean_low_s
ttft_mean_high_s ttft_p95_with_errors_s ttft_p99_with_errors_s
tokens_per_s_mean tokens_per_s_p50 tokens_per_s_min tokens_per_s_mean_low
tokens_per_s_mean_high interval_n tpot_mean_s itl_mean_s itl_p50_s itl_p95_s itl_p99_s itl_max_s
itl_chunks e2e_mean_s e2e_p50_s e2e_p95_s e2e_p99_s e2e_max_s
output_tokens prompt_tokens prefill_tokens_per_s chunks draft_acceptance_ratio
prompt_tokens_mean output_tokens_mean prompts_cut replies_cut output_tokens_per_s
full_load_tokens_per_s hosts
client_send_skew_s client_send_lag_p50_s client_send_lag_p99_s client_send_lag_max_s
client_paused_s client_held_s client_digest_lag_max_s client_read_lag_p99_s
client_stall_p99_s client_cpu_ratio clock_uncertainty_s client_limited slept_s
on_battery low_power_mode
coverage_ratio energy_j idle_w mean_w max_w mean_gpu_mhz mean_gpu_busy_ratio
joules_per_output_token net_joules_per_output_token output_tokens_per_joule
gpu_energy_j gpu_power_w gpu_joules_per_output_token
system_energy_j system_power_w system_joules_per_output_token
gpu_coverage_ratio uncovered_most_j uncounted_tokens
"""
# columns of a level that a condition may name
FIGURES = frozenset(FIGURE_NAMES.split())
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
CONDITION = re.compile(
    rf"\s*([a-z_0-9]+)\s*([<>])(=?)\s*({NUMBER})\s*(%?)\s*"
)


class ConditionError(ValueError):
    """A condition cannot be used; str() is one line for the user."""


@dataclass(frozen=True)
class Condition:
    """A bound that fails the run: a metric below or above a value, or a relative change."""

    metric: str
    below: bool
    limit: float
    is_change: bool
    text: str
    or_equal: bool = False

    def holds(self, value: float) -> bool:
        if self.or_equal and value == self.limit:
            return True
        return value < self.limit if self.below else value > self.limit


def parse_condition(text: str) -> Condition:
    """Parse ttft>10%, ttft_p99_s>=2 or error_ratio>.01. Raises ConditionError."""
    match = CONDITION.fullmatch(text)
    if match is None:
        raise wrong_condition(text)
    metric, sign, equal, number, per_cent = match.groups()
    limit = float(number)
    is_known = (
        metric in COMPARED
        if per_cent
        else metric in COLUMNS or metric in FIGURES
    )
    if not is_known or math.isinf(limit):
        raise wrong_condition(text)
    if per_cent:
        limit /= 100
    return Condition(
        metric, sign == "<", limit, bool(per_cent), text, bool(equal)
    )


def wrong_condition(text: str) -> ConditionError:
    return ConditionError(
        f"invalid condition {text!r}: expected METRIC<VALUE or METRIC>=VALUE, with METRIC one of "
        f"{', '.join(COLUMNS)} or a figure of level_summary such as ttft_p99_s or goodput_per_s; "
        f"with % for a change: {', '.join(COMPARED)}"
    )


def check_conditions(texts: Sequence[str]) -> None:
    """Raise ConditionError if one is wrong, or a change, which a single run does not have."""
    for text in texts:
        if parse_condition(text).is_change:
            raise ConditionError(
                f"invalid condition {text!r}: expected a value, because a single run has no change "
                f"(use {name_program('analyze')} --compare to compare two runs)"
            )

"""The old name of what is now in conditions.py."""

from __future__ import annotations

from ollama_bench.analysis.conditions import ConditionError as ConditionError
from ollama_bench.analysis.conditions import (
    check_conditions as check_conditions,
)

"""What a run says before it begins: which server is measured, and what may be unexpected."""

from __future__ import annotations

import sys

from ollama_bench.inputs import trace
from ollama_bench.inputs.settings import RequestSettings, Settings
from ollama_bench.privilege.helper import Helper
from ollama_bench.privilege.variables import DroppedVariables
from ollama_bench.protocols.names import OLLAMA, OPENAI
from ollama_bench.run.error import RunError
from ollama_bench.terminal.screen import Console


def warn_of_settings(
    settings: Settings, helper: Helper | None, screen: Console
) -> None:
    """Say before the run what the user may not expect. Raises RunError."""
    if helper is not None and helper.warning:
        screen.warn(helper.warning)
    if settings.repeated_levels:
        repeated = ", ".join(map(str, settings.repeated_levels))
        screen.warn(
            f"ignoring repeated levels: {repeated} (use --repeat N to repeat all)"
        )
    if (think_time := settings.load.think_time) is not None:
        patience_s, patience = settings.load.patience_s, ""
        if patience_s is not None:
            patience = (
                f"; who has no first token after {patience_s:g} s leaves"
            )
        lasts = "each level lasts until it is decided"
        if settings.load.duration_s is not None:
            lasts = f"each level lasts {settings.load.duration_s:g} s"
        screen.say(
            f"people who think {think_time.mean_s:g} s ({think_time.law}): {lasts}, "
            f"then what was asked may finish{patience}"
        )
    request = settings.request
    if (replayed := trace.read_replayed(settings)) is not None:
        warn_of_failed_lines(replayed, screen)
    if "num_ctx" in request.model_options and OPENAI in request.protocols:
        screen.warn(
            "num_ctx has no effect with --api openai: set the context where the server is started"
        )
    if settings.judging.report and sys.flags.optimize > 1:
        raise RunError(
            "cannot draw charts with -OO or PYTHONOPTIMIZE=2: start without, or omit --report"
        )


def warn_of_failed_lines(replayed: trace.Trace, screen: Console) -> None:
    """Say how many requests of a trace failed even then, and are left out."""
    if replayed.failed:
        total = replayed.failed + len(replayed.lines)
        screen.warn(
            f"{replayed.name}: skipping {replayed.failed:,} of {total:,} requests "
            "that have no prompt or no reply"
        )


def name_servers(
    request: RequestSettings, dropped: DroppedVariables, screen: Console
) -> None:
    """Say which servers are measured and what named them: sudo has an environment of its own."""
    came_back = ""
    if request.named_by in dropped.recovered:
        came_back = ", which sudo had dropped"
    urls = [server.url for server in request.servers]
    screen.note(
        f"server: {', '.join(urls)} ({request.named_by}{came_back})"
    )
    warn_of_dropped(request, dropped, screen)


def warn_of_dropped(
    request: RequestSettings, dropped: DroppedVariables, screen: Console
) -> None:
    """Say which variables that matter here sudo may have dropped."""
    urls = [server.url for server in request.servers]
    matters = {
        "OLLAMA_HOST": request.is_searched
        or request.named_by == "default"
        and request.protocols == (OLLAMA,),
        "OPENAI_API_KEY": OPENAI in request.protocols
        and not request.is_searched,
        "REQUESTS_CA_BUNDLE": any(
            url.startswith("https:") for url in urls
        ),
    }
    names = [name for name in matters if matters[name]]
    if hint := dropped.suggest_preserving(*names):
        screen.warn(hint)

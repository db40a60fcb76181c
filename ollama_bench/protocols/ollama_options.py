"""The model options that Ollama knows: it ignores any other and only its log says so."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# api/types.go, Options and Runner, of every version from 0.1.33 to 0.33
NAME_TEXT = """
draft_num_predict f16_kv frequency_penalty logits_all low_vram main_gpu min_p mirostat
mirostat_eta mirostat_tau num_batch num_ctx num_gpu num_gqa num_keep num_predict num_thread
numa penalize_newline presence_penalty repeat_last_n repeat_penalty rope_frequency_base
rope_frequency_scale seed stop temperature tfs_z top_k top_p typical_p use_mlock use_mmap
vocab_only
"""
NAMES = frozenset(NAME_TEXT.split())


def check_names(names: Iterable[str]) -> None:
    """Raise ValueError for a name that no version of Ollama knows, with the nearest known one."""
    for name in names:
        if name in NAMES:
            continue
        near = difflib.get_close_matches(name, sorted(NAMES), n=1)
        expected = (
            f"did you mean {near[0]}?"
            if near
            else f"expected one of {', '.join(sorted(NAMES))}"
        )
        raise ValueError(f"invalid model option {name!r}: {expected}")

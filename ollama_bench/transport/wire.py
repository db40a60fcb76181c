"""Former home of the transport; re-exports it until its importers have moved."""

from ollama_bench.transport import capabilities
from ollama_bench.transport.digest_queue import DigestQueue as DigestQueue
from ollama_bench.transport.exchange import Exchange as Exchange
from ollama_bench.transport.framing import Framing as Framing
from ollama_bench.transport.lines import KEPT_AFTER_S as KEPT_AFTER_S
from ollama_bench.transport.lines import Line as Line
from ollama_bench.transport.lines import Lines as Lines
from ollama_bench.transport.reader import Reader as Reader
from ollama_bench.transport.recorder import Recorder as Recorder
from ollama_bench.transport.session import Session as Session


def __getattr__(name: str) -> bool:
    """Look up READS_TOGETHER, RECORDS and KERNEL_STAMPS where tests replace them."""
    if name not in ("READS_TOGETHER", "RECORDS", "KERNEL_STAMPS"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return bool(getattr(capabilities, name))

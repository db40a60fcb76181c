"""The former module: re-exports for importers that have not moved yet."""

from ollama_bench.terminal.figures import format_duration as short_time
from ollama_bench.terminal.rows import GPU_COLUMNS as GPU_COLUMNS
from ollama_bench.terminal.rows import GPU_NOTE as GPU_NOTE
from ollama_bench.terminal.rows import LEAST_WIDTH as LEAST_WIDTH
from ollama_bench.terminal.rows import LEVEL_COLUMNS as LEVEL_COLUMNS
from ollama_bench.terminal.rows import WIDTH as WIDTH
from ollama_bench.terminal.rows import format_cache_effect as cache_line
from ollama_bench.terminal.rows import format_heading as heading
from ollama_bench.terminal.rows import format_host as host_line
from ollama_bench.terminal.rows import format_level as level_line
from ollama_bench.terminal.rows import format_steady as steady_line
from ollama_bench.terminal.rows import is_gpu_alone as is_gpu_alone
from ollama_bench.terminal.screen import Console as Console

__all__ = ["cache_line", "heading", "host_line", "level_line", "short_time", "steady_line"]

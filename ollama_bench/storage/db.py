"""Names of this room under their old module, for files that still import them from here."""

from ollama_bench.storage.connection import DEAD_AFTER_S as DEAD_AFTER_S
from ollama_bench.storage.connection import OPEN_PATIENCE_S as OPEN_PATIENCE_S
from ollama_bench.storage.connection import connect as connect
from ollama_bench.storage.damage import refuse_damage as refuse_damage
from ollama_bench.storage.results_file import APPLICATION_ID as APPLICATION_ID
from ollama_bench.storage.results_file import TOOL_VERSION as TOOL_VERSION
from ollama_bench.storage.results_file import VERSION as VERSION
from ollama_bench.storage.results_file import ResultsError as ResultsError
from ollama_bench.storage.writer import COMMIT_EVERY_S as COMMIT_EVERY_S
from ollama_bench.storage.writer import WRITE_PATIENCE_S as WRITE_PATIENCE_S
from ollama_bench.storage.writer import Writer as Writer

"""Names of this room under their old module, for files that still import them from here."""

from ollama_bench.study_csv.columns import COLUMNS as COLUMNS
from ollama_bench.study_csv.importer import main as main
from ollama_bench.study_csv.importer import parse_args as parse_args

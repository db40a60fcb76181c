"""Names of this room under their old module, for files that still import them from here."""

from ollama_bench.study_csv.export import write as write

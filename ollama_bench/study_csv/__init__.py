"""The CSV files of the original study's tool, written in Go: read them and write them.

`python -m ollama_bench.study_csv TREE` reads a tree of them into results.db.
"""

"""Import a file as a user does, and look at what is stored."""

import json

from ollama_bench.formats.import_command import main
from ollama_bench.storage.connection import connect


def rows(path, sql):
    database = connect(str(path), readonly=True)
    found = list(database.query(sql))
    database.close()
    return found


def import_file(folder, record, database, *more, name="old.json"):
    path = folder / name
    text = record if isinstance(record, str) else json.dumps(record)
    path.write_text(text, "utf-8")
    return main([str(path), "--db", database, *more])


def read_level(database):
    [level] = rows(database, "SELECT * FROM level_summary")
    return level

"""TEMPORARY"""
from __future__ import annotations
import analyze
from ollama_bench.terminal import console, standard
def show_level(settings, record, level_id, screen, servers):
    row = record.level(level_id)
    screen.level_finished(row)
    for bad in record.rows("SELECT * FROM outcomes WHERE level_id = ? AND status != 'completed'", [level_id]):
        screen.warn(f"        {bad['requests']} {bad['status']}: {bad['example'] or ''}")
    return None if row["slept_s"] else row["good_ratio"]
def show(settings, record, status, screen, servers):
    screen.table(record.levels())
    for sentence in analyze.headline(settings.output.db, record.id, dict(settings.judging.objectives)):
        screen.sentence(sentence)
def judge(settings, run_id): return 0

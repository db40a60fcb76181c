import json

from ollama_bench.load.attempt import count_characters
from ollama_bench.load.request import Outcome, Task
from ollama_bench.protocols.ollama import Ollama
from ollama_bench.protocols.secret import Secret


def test_api_key_of_a_task_is_not_shown():
    key = "sk-secret-4711-never-to-be-seen"
    assert key not in repr(Task(1, Ollama(), "", {}, secret=Secret(key)))


def test_figures_count_instants_from_the_origin():
    outcome = Outcome(
        Task(1, Ollama(), "", {}), "completed", sent_ns=100, ended_ns=500
    )
    outcome.chunk_ns.extend([200, 300, 400])
    outcome.chunk_is_reasoning += b"\1\0\0"
    figures = outcome.to_figures(origin_ns=50)
    assert (
        figures["due_ns"],
        figures["sent_ns"],
        figures["ended_ns"],
    ) == (
        None,
        50,
        450,
    )
    assert (figures["first_text_ns"], figures["first_answer_ns"]) == (
        150,
        250,
    )
    assert (
        figures["chunks"],
        figures["reasoning_chunks"],
        figures["last_text_ns"],
    ) == (3, 1, 350)
    assert (figures["output_tokens"], figures["output_tokens_source"]) == (
        3,
        "chunks",
    )


def test_where_a_key_is_masked_nobody_knows_whose_characters_are_left():
    outcome = Outcome(Task(1, Ollama(), "", {}))
    stream = Ollama().create_stream(Secret("sk-secret-4711"))
    for word in ("It is ", "sk-secret", "-4711", "."):
        line = json.dumps({"response": word}).encode() + b"\n"
        outcome.chunk_is_reasoning += stream.feed(line)
    outcome.answer = "".join(("It is ", "sk-secret", "-4711", "."))
    assert list(count_characters(outcome, stream)) == [6, 9, 5, 1]
    outcome.answer = stream.answer
    assert outcome.answer == "It is ***."
    assert count_characters(outcome, stream) is None

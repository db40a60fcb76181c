"""Collects the tool calls of one streamed answer, whole or in fragments."""

from __future__ import annotations

from dataclasses import dataclass, field

from ollama_bench.protocols.json_values import JsonObject

MOST_CALLS = 1000  # of one answer; bounds the memory


@dataclass
class Fragments:
    """One call of the OpenAI protocol, whose arguments arrive piece by piece."""

    id: object
    name: object
    arguments: list[str] = field(default_factory=list)


class ToolCalls:
    """The tool calls so far, in the form in which the next request repeats them."""

    def __init__(self) -> None:
        self._whole: list[JsonObject] = []
        self._fragments: dict[int, Fragments] = {}

    def collect(self) -> list[JsonObject]:
        """Return the calls of the answer, as its protocol writes them."""
        return self._whole + [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": "".join(call.arguments),
                },
            }
            for call in self._fragments.values()
        ]

    def add_whole(self, calls: object) -> bool:
        """Add calls that are complete, as Ollama sends them; tell whether there were any."""
        found = list_function_calls(calls)
        self._whole += found[: MOST_CALLS - len(self._whole)]
        return bool(found)

    def add_fragments(self, calls: object) -> bool:
        """Add parts of calls, told apart by their index; tell whether there were any."""
        found = list_function_calls(calls)
        for call in found:
            self._add_fragment(call)
        return bool(found)

    def _add_fragment(self, call: JsonObject) -> None:
        index = call.get("index")
        if not isinstance(index, int):
            # a server that numbers no calls sends each of them whole
            index = len(self._fragments)
        function = call["function"]
        assert isinstance(function, dict)
        if index not in self._fragments:
            if len(self._fragments) >= MOST_CALLS:
                return
            self._fragments[index] = Fragments(
                call.get("id"), function.get("name")
            )
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            self._fragments[index].arguments.append(arguments)


def list_function_calls(calls: object) -> list[JsonObject]:
    """List the objects of an array that call a function."""
    if not isinstance(calls, list):
        return []
    return [
        call
        for call in calls
        if isinstance(call, dict)
        and isinstance(call.get("function"), dict)
    ]

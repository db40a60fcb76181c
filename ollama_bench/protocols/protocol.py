"""What a protocol must offer: the interface between this package and the rest of the program.

To add a protocol, write a class that matches ``ServerProtocol`` and a stream that matches
``ChunkStream`` (derive it from ``LineStream``, or from ``EventStream`` for server-sent events),
then list the class in ``registry.PROTOCOLS``. Neither may read a clock or open a socket.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Protocol

from ollama_bench.protocols.chunks import StreamSummary
from ollama_bench.protocols.json_values import JsonObject
from ollama_bench.protocols.offers import Offer
from ollama_bench.protocols.secret import NO_SECRET, Secret
from ollama_bench.protocols.target import Target


class ProtocolError(Exception):
    """A server does not speak the protocol; str() continues a sentence that names the server."""


class KeyRequiredError(ProtocolError):
    """A server answers only with an API key."""


class ModelListError(ProtocolError):
    """A server has no list of models that can be read; it may serve them all the same."""


class GetJson(Protocol):
    """Asks the server one question, with GET, or with POST if there is a body."""

    def __call__(
        self, path: str, body: JsonObject | None = None
    ) -> tuple[int, object]:
        """Return the HTTP status and the decoded body: "" if empty, None if it is not JSON."""


class ChunkStream(Protocol):
    """Parses one streamed answer."""

    @property
    def summary(self) -> StreamSummary:
        """What the server has reported so far besides text."""

    @property
    def answer(self) -> str:
        """The answer so far, without the API key."""

    @property
    def reasoning(self) -> str:
        """The reasoning so far, without the API key."""

    @property
    def tool_calls(self) -> list[JsonObject]:
        """The tool calls so far, in the form in which the next request repeats them."""

    def feed(self, data: bytes) -> bytes:
        """Parse bytes, cut anywhere; return the kind of each chunk of text they complete."""

    def close(self) -> bytes:
        """End the stream; return the kinds of the last chunks."""

    def count_characters(self, kinds: bytes) -> array[int]:
        """Return how many characters each chunk so far has, as received; kinds: of all of them."""


class ServerProtocol(Protocol):
    """Speaks one protocol. Holds no state: one instance serves every request."""

    @property
    def name(self) -> str:
        """What --api and the results call the protocol."""

    @property
    def key_variable(self) -> str | None:
        """The environment variable of its API key, if it has one."""

    @property
    def start_advice(self) -> str:
        """What to do where no such server answers."""

    @property
    def download_command(self) -> str | None:
        """What downloads a model, where a server has many and knows each by its name."""

    @property
    def ready_path(self) -> str:
        """A path that a server answers with 503 for as long as it loads its model."""

    @property
    def path(self) -> str:
        """The path of a request for one prompt."""

    @property
    def chat_path(self) -> str:
        """The path of a turn of a chat."""

    @property
    def last_line_marks(self) -> tuple[bytes, ...]:
        """Bytes of which each last line holds one, and few other lines do: a cheap first test."""

    def create_stream(self, secret: Secret = NO_SECRET) -> ChunkStream:
        """Return a parser for one streamed answer that masks the secret in it."""

    def build_body(
        self,
        model: str,
        prompt: str,
        tokens: int | None = None,
        think: bool | None = None,
        options: JsonObject | None = None,
        system: str | None = None,
    ) -> JsonObject:
        """Return the JSON body of one streaming request for one prompt.

        ``tokens`` is an upper bound, ``options`` goes to the server as it is.
        """

    def build_chat(
        self,
        model: str,
        messages: Sequence[JsonObject],
        tokens: int | None = None,
        think: bool | None = None,
        options: JsonObject | None = None,
        tools: Sequence[object] = (),
    ) -> JsonObject:
        """Return the JSON body of one turn of a chat, given all messages up to it.

        Messages and tools are in OpenAI's form. ``tokens`` and ``options`` as for one prompt.
        """

    def is_last_line(self, line: bytes) -> bool:
        """Tell whether the answer ends with this line, given without its line end."""

    def counts_cached(self, version: str | None) -> bool:
        """Tell whether this version's count of prompt tokens has those from the prompt cache."""

    def fetch_version(self, get_json: GetJson) -> str:
        """Return the server's version, or "unknown". Raises ProtocolError."""

    def fetch_models(self, get_json: GetJson) -> list[str]:
        """List the models on the server. Raises ModelListError."""

    def fetch_offers(self, get_json: GetJson) -> list[Offer]:
        """Return the models with what the lists tell of each; [] where there is no list."""

    def generates_text(self, get_json: GetJson, model: str) -> bool:
        """Tell whether a model of the list generates text; True where that is not known."""

    def fetch_own_name(self, get_json: GetJson) -> str | None:
        """Return the model of a server that answers to any name; None if it is not one."""

    def fetch_target(self, get_json: GetJson, model: str) -> Target:
        """Return what the server reports about a model. Raises ProtocolError."""

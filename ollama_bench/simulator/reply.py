"""One reply: its tokens, its bytes, and the record of when they left."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from ollama_bench.simulator.connection import Connection, Outcome
from ollama_bench.simulator.dialect import Dialect, Ending
from ollama_bench.simulator.framing import (
    BodyFraming,
    Buffered,
    Chunked,
    UntilEof,
)
from ollama_bench.simulator.messages import Request
from ollama_bench.simulator.send_log import ReplyRecord

# share of a reply that is reasoning when the model thinks
REASONING_RATIO = 0.4

# One token each; some characters take more than one byte.
SENTENCES = (
    " time is the measure of change and of what does not change ; a naïve mind asks whether"
    " now can flow at all , or if before and after are only relations that we read into"
    " events . Augustine said : if no one asks me , I know ; 時間 is τάξις , an order —"
    " não há rio parado ⏳ in which all things happen once"
)
VOCABULARY = SENTENCES.split()

# due_ns -> whether it took the place of the token
Interceptor = Callable[[int], bool]
# number and payload of a token -> its payload
Rewriter = Callable[[int, bytes], bytes]
# the last payloads -> the last payloads
Closer = Callable[[list[bytes]], list[bytes]]


@dataclass(frozen=True)
class Question:
    """What was asked of a model, whatever the protocol."""

    model: str
    prompt: str
    thinks: bool
    limit: int  # most tokens of the reply; 0 is unlimited


class Reply:
    """A stream of tokens that are due one after the other.

    Faults change it before it begins: they set count, reasoning_count, prompt_tokens, done_reason,
    text, send, framing and held, and add to interceptors, rewriters and closers. Tokens are
    numbered from 0.
    """

    def __init__(
        self,
        connection: Connection,
        request: Request,
        dialect: Dialect,
        question: Question,
    ) -> None:
        self.connection = connection
        self.simulation = connection.simulation
        self.request = request
        self.dialect = dialect
        settings = self.simulation.settings
        chance = random.Random(settings.seed * 1_000_003 + request.number)
        planned = chance.randint(*settings.tokens)
        limit = question.limit
        self.count = min(planned, limit) if limit > 0 else planned
        self.reasoning_count = (
            int(planned * REASONING_RATIO) if question.thinks else 0
        )
        self.done_reason = "length" if 0 < limit < planned else "stop"
        self._prompt = question.prompt
        self.prompt_tokens = len(question.prompt.split())

        # What faults may replace or add to.
        words = Words(
            chance.randrange(len(VOCABULARY)), chance.randrange(1, 12)
        )
        # None: nothing is written for it
        self.text: Callable[[int], str | None] = words.text
        self.send: Callable[[bytes], object] = connection.transport.write
        self.framing: BodyFraming = (
            Chunked() if request.keep_alive else UntilEof()
        )
        if not dialect.streams:
            self.framing = Buffered()
        self.held = False  # never to be answered
        self.interceptors: list[Interceptor] = []
        self.rewriters: list[Rewriter] = []
        self.closers: list[Closer] = []

        # When it happened.
        self.read_ns = request.read_ns
        self.ready_ns = self.simulation.load(
            question.model, request.read_ns
        )
        self._admitted_ns: int | None = None
        self._load_ns = 0
        self._end_ns: int | None = None
        self._due_ns: list[int] = []
        self._writes_ns: list[int] = []
        self._outcome: Outcome | None = None
        self._started = False

    @property
    def over(self) -> bool:
        return self._outcome is not None

    @property
    def written(self) -> int:
        """How many tokens have been written."""
        return len(self._writes_ns)

    def admit(self, admitted_ns: int, load_ns: int) -> None:
        self._admitted_ns = admitted_ns
        self._load_ns = load_ns

    def tick(self, due_ns: int) -> None:
        """Write the token that is due, and the end after the last one."""
        for intercept in self.interceptors:
            if intercept(due_ns):
                return
        n = len(self._writes_ns)
        if n < self.count:
            payload = self.payload(n)
            now_ns = time.perf_counter_ns()
            self._due_ns.append(due_ns)
            self._writes_ns.append(now_ns)
            self.write(payload)
            self.simulation.lateness.add(now_ns - due_ns)
        if n + 1 >= self.count:
            self.finish()

    def payload(self, n: int) -> bytes:
        """Return the bytes of token n."""
        text = self.text(n)
        payload = b""
        if text is not None:
            payload = self.dialect.token(text, n < self.reasoning_count)
        for rewrite in self.rewriters:
            payload = rewrite(n, payload)
        return payload

    def write(self, payload: bytes) -> None:
        data = self.framing.piece(payload)
        if not self._started:
            data = self.start() + data
        if data:
            self.send(data)

    def start(self) -> bytes:
        """Return the head of the answer, the first time: it travels with the first token."""
        if self._started:
            return b""
        self._started = True
        return self.framing.start(200, self.dialect.content_type)

    def finish(self) -> None:
        self._end_ns = time.perf_counter_ns()
        pieces = self.dialect.closing(self._ending(self._end_ns))
        for change in self.closers:
            pieces = change(pieces)
        for piece in pieces:
            self.write(piece)
        self.send(self.framing.finish())
        self.close("done")

    def _ending(self, end_ns: int) -> Ending:
        first_ns = self._writes_ns[0] if self._writes_ns else end_ns
        last_ns = self._writes_ns[-1] if self._writes_ns else end_ns
        admitted_ns = (
            self.read_ns
            if self._admitted_ns is None
            else self._admitted_ns
        )
        return Ending(
            done_reason=self.done_reason,
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.count,
            total_ns=end_ns - self.read_ns,
            load_ns=self._load_ns,
            prefill_ns=first_ns - admitted_ns - self._load_ns,
            decode_ns=last_ns - first_ns,
        )

    def refuse(
        self, status: int, content_type: str, body: bytes, *lines: str
    ) -> None:
        """Answer at once with something else; lines are further headers."""
        self.connection.answer(
            self.request, status, content_type, body, *lines
        )
        self.close("refused")

    def close(self, outcome: Outcome) -> None:
        """End it, once: free its slot, keep its record, let the connection go on."""
        if self.over:
            return
        self._outcome = outcome
        if self._end_ns is None:
            self._end_ns = time.perf_counter_ns()
        self.simulation.end(self)
        if outcome != "disconnected":
            self.connection.end_reply(
                self.framing.keeps_open and self.request.keep_alive
            )

    def record(self) -> ReplyRecord:
        return {
            "number": self.request.number,
            "id": self.request.headers.get("x-request-id"),
            "prompt_prefix": self._prompt[:80],
            "outcome": self._outcome,
            "read_ns": self.read_ns,
            "admitted_ns": self._admitted_ns,
            "end_ns": self._end_ns,
            "due_ns": self._due_ns,
            "writes_ns": self._writes_ns,
        }


class Words:
    """The text of a reply: a walk through the vocabulary."""

    def __init__(self, first: int, stride: int) -> None:
        self._first = first
        self._stride = stride

    def text(self, n: int) -> str:
        """Return the text of token n."""
        return (
            " "
            + VOCABULARY[
                (self._first + n * self._stride) % len(VOCABULARY)
            ]
        )

"""api.py - speaks the servers' protocols: Ollama's NDJSON and OpenAI's SSE; bytes in, text out.

It holds no clock, no socket and no file. A server object says where to send what, makes a
stream that turns bytes into chunks, and reads what the server says of itself:

    server = api.SERVERS["ollama"]
    path, body = server.path, server.body("deepseek-r1:7b", "What is time?", tokens=100)
    stream = server.stream()
    for data in pieces: kinds = stream.feed(data)    # a byte for each chunk of text
    stream.close(); stream.answer, stream.reasoning, stream.final
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
import sys
from dataclasses import dataclass
from typing import Any, Callable, Literal, Optional
from urllib.parse import urlsplit

import msgspec

OLLAMA_PORT = 11434
LONGEST_ERROR = 500  # characters of a server's error that are kept
LONGEST_LINE = 64 << 20  # bytes; a line that is longer is no token and not kept
SHORT_LINE = 1024  # bytes of a usual line: no room for a number or a nesting that json refuses
PART_BYTES = 64  # that a part of an event costs beside its characters
DEEPEST_PART = 4  # of a content: lists in lists
LF, CR, BOM = 10, 13, b"\xef\xbb\xbf"
REASONING, ANSWER = b"\1", b"\0"  # what a chunk of text is, a byte each
HALF_PAIR = re.compile(
    "[\ud800-\udfff]"
)  # JSON can escape half a character; UTF-8, and so SQLite, has none
LARGEST_COUNT = (
    10**14
)  # a day in nanoseconds, 100 TB: no real counter is more, and sums of these fit the 64 bits of SQLite
NS_PER_MS = 1e6

scan_json = (
    json.JSONDecoder().scan_once
)  # (text, 0) -> (value, where it ends): a third of the cost of json.loads on bytes

SHORTEST_SECRET = 8  # characters of a key; "EMPTY", "none" and "ollama" are words and no secrets
SHORTEST_BEGINNING = 4  # of a key at the end of a cut text
TAIL_LENGTH = 65_536  # characters at a cut text's end in which the beginning of a key is looked for
REFUSED_BYTES = 4096  # of a line that is no JSON object that are looked at
INVISIBLE = (
    "\\x00-\\x20\\x7f-\\xa0\\xad\\u0600-\\u0605\\u061c\\u06dd\\u070f\\u0890\\u0891\\u08e2\\u115f\\u1160\\u1680\\u17b4\\u17b5"
    "\\u0300-\\u036f\\u1ab0-\\u1aff\\u1dc0-\\u1dff\\u20d0-\\u20ff\\ufe20-\\ufe2f\\ud800-\\udfff\\ufffd"  # marks on a letter, halves of one
    "\\u180b-\\u180f\\u2000-\\u200f\\u2028-\\u202f\\u205f-\\u206f\\u2800\\u3000\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb"
    "\\U000110bd\\U000110cd\\U00013430-\\U0001345f\\U0001bca0-\\U0001bcaf\\U0001d173-\\U0001d17a\\U000e0000-\\U000e0fff"
)
ESCAPE = (
    r"\\{1,4}(?:u[0-9a-fA-F]{4}|U00[01][0-9a-fA-F]{5}|x[0-9a-fA-F]{2}"  # of JSON or Python,
    r"|[abfnrtv0])"
)  # which may itself be escaped

Get = Callable[
    ..., tuple[int, Any]
]  # get(path, json=None) -> (HTTP status, decoded body, "" for an empty one, None for what is no JSON)


class Secret:
    """An API key that no server may make us say: mask() puts *** for it.

    It is found with anything invisible between its characters, and with characters escaped as
    in JSON. A key of fewer than SHORTEST_SECRET characters is a dummy, and masks nothing.
    """

    def __init__(self, key: str | None = None) -> None:
        self._key = re.sub(f"[{INVISIBLE}]", "", key or "")
        self._pattern = None
        if len(self._key) >= SHORTEST_SECRET:
            self._pattern = re.compile(f"[{INVISIBLE}]*".join(map(re.escape, self._key)))

    def mask(self, text: str, is_cut: bool = False) -> str:
        """The text without the key; a text that was cut also without a beginning of it at the end."""
        if self._pattern is None:
            return text
        text = self._pattern.sub("***", text)
        if "\\" in text:
            plain = UNSEEN.sub("", ESCAPED.sub(lambda found: visible(found[0]), text))
            text = self._without_escaped(text) if self._key in plain else text
        return self._without_beginning(text) if is_cut else text

    def mask_all(self, value: Any) -> Any:
        """Decoded JSON with each text in it masked, keys too. Raises RecursionError."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, list):
            return [self.mask_all(entry) for entry in value]
        if isinstance(value, dict):
            return {self.mask(name): self.mask_all(entry) for name, entry in value.items()}
        return value

    def _without_escaped(self, text: str) -> str:
        letters = units(text)
        shown = "".join(letter for _, _, letter in letters)
        parts, done, at = [], 0, shown.find(self._key)
        while at >= 0:
            parts += [text[done : letters[at][0]], "***"]
            done = letters[at + len(self._key) - 1][1]
            at = shown.find(self._key, at + len(self._key))
        return "".join([*parts, text[done:]])

    def _without_beginning(self, text: str) -> str:
        size = 4 * len(self._key)
        longest = min(len(text), TAIL_LENGTH)
        while len(letters := units(text[-size:])) <= len(self._key) and size < longest:
            size *= 4
        shown = "".join(letter for _, _, letter in letters)
        for length in range(len(self._key) - 1, SHORTEST_BEGINNING - 1, -1):
            if shown.endswith(self._key[:length]):
                return text[: letters[-length][0] - min(size, len(text)) + len(text)] + "***"
        return text


ESCAPED, UNSEEN = re.compile(ESCAPE), re.compile(f"[{INVISIBLE}]+")
HALF_ESCAPE = r"\\{1,4}(?:[uUx][0-9a-fA-F]{0,7})?\Z"
UNIT = re.compile(f"{ESCAPE}|{HALF_ESCAPE}|.", re.DOTALL)  # a character, escaped or not


def units(text: str) -> list[tuple[int, int, str]]:
    """(start, end, character) of each character of a text that shows, escaped or not."""
    found = ((*unit.span(), visible(unit[0])) for unit in UNIT.finditer(text))
    return [(start, end, letter) for start, end, letter in found if letter]


def visible(unit: str) -> str:
    """The character that a unit shows; '' for one that nobody sees, and for half a one."""
    if unit[0] == "\\":
        code = unit.lstrip("\\")
        is_whole = len(code) > 2 and ESCAPED.fullmatch(unit)
        unit = chr(min(int(code[1:], 16), sys.maxunicode)) if is_whole else ""
    return "" if UNSEEN.fullmatch(unit) else unit


NO_SECRET = Secret()


class OllamaLine(msgspec.Struct, gc=False):
    """What a usual line of Ollama's may say; any other is refused, and then read slowly."""

    response: Optional[str] = None
    thinking: Optional[str] = None
    done: bool = False
    error: None = None
    detail: None = None
    object: None = None


class Delta(msgspec.Struct, gc=False):
    content: Optional[str] = None
    reasoning_content: Optional[str] = None
    reasoning: Optional[str] = None


class Choice(msgspec.Struct, gc=False):
    delta: Delta
    finish_reason: None = None
    error: None = None


class OpenAIEvent(msgspec.Struct, gc=False):
    """The same of an event of OpenAI's protocol."""

    choices: tuple[Choice]
    error: None = None
    usage: None = None
    timings: None = None
    detail: None = None
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"


decode_ollama = msgspec.json.Decoder(OllamaLine).decode
decode_openai = msgspec.json.Decoder(OpenAIEvent).decode
UNUSUAL = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # then json_object reads it


def json_object(line: bytes) -> dict | None:
    """The JSON object that a line is, read as Python's json does; None where it is none."""
    try:
        text = line.decode()
        found, end = scan_json(text, 0)
        return found if end == len(text) and found.__class__ is dict else None
    except (ValueError, RecursionError, StopIteration):
        return None


@dataclass
class Final:
    """What the server says at the end of a stream; None where it says nothing."""

    done: bool = False
    done_reason: str | None = None
    error: str | None = None
    output_tokens: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    server_total_ns: int | None = None
    server_load_ns: int | None = None
    server_prefill_ns: int | None = None
    server_decode_ns: int | None = None
    error_is_said: bool = False  # by the server, in its own words


@dataclass
class Target:
    """A model on a server, as the server describes it; None is unknown."""

    server: str | None = None
    server_version: str | None = None
    family: str | None = None
    parameter_size: str | None = None
    quantization: str | None = None
    digest: str | None = None
    thinks: bool | None = None
    context_tokens: int | None = None
    size_bytes: int | None = None
    vram_bytes: int | None = None
    slots: int | None = None
    slots_source: str | None = None


class Stream:
    """Turns the bytes of one streamed answer into chunks, however they are cut.

    ``answer`` and ``reasoning`` are the texts so far, ``final`` what the server counted.
    Lines end in a line feed and nothing else: str.splitlines would break at U+0085.
    """

    def __init__(self, secret: Secret = NO_SECRET) -> None:
        self.final = Final()
        self._secret = secret
        self._tail = bytearray()  # of a line whose end has not come
        self._skips = False  # that line is too long: forget it up to its end
        self._answer: list[str] = []
        self._reasoning: list[str] = []
        self._tags = ThinkTags()

    @property
    def answer(self) -> str:
        return self._secret.mask("".join(self._answer), is_cut=not self.final.done)

    @property
    def reasoning(self) -> str:
        return self._secret.mask("".join(self._reasoning), is_cut=not self.final.done)

    def feed(self, data: bytes) -> bytes:
        """Take bytes; one byte for each chunk of text that they complete: REASONING or ANSWER."""
        if data[-1:] == b"\n" and not self._tail and not self._skips and len(data) <= LONGEST_LINE:
            return b"".join([self._line(line) for line in data[:-1].split(b"\n")])
        first, *lines = data.split(b"\n")
        self._keep(first)
        if not lines:
            return b""
        kinds = [self._end_line(), *[self._line(line) for line in lines[:-1]]]
        self._keep(lines[-1])
        return b"".join(kinds)

    def close(self) -> bytes:
        """The stream has ended: a last line may lack its line feed. Gives what feed gives."""
        return self._end_line()

    def _keep(self, data: bytes) -> None:
        """A piece of a line; adding to the end is cheap however often it happens."""
        if not self._skips:
            self._tail += data
        if len(self._tail) > LONGEST_LINE:
            self._fail(f"a line longer than {LONGEST_LINE >> 20} MiB")
            self._tail.clear()
            self._skips = True

    def _end_line(self) -> bytes:
        line = bytes(self._tail)
        skips, self._skips = self._skips, False
        self._tail.clear()
        return b"" if skips else self._line(line)

    def _line(self, line: bytes) -> bytes:
        raise NotImplementedError

    def _refuse(self, line: bytes) -> None:
        self._fail(f"not a JSON object: {beginning(line, self._secret)}")

    def _fail(self, error: str) -> None:
        """Something is wrong with the stream itself."""
        self.final.error = self.final.error or error[:LONGEST_ERROR]

    def _say_error(self, body: Any) -> None:
        """The server says an error; its first words are kept, and go before our own."""
        if not self.final.error_is_said:
            self.final.error, self.final.error_is_said = error_text(body, self._secret), True

    def _say(self, text: Any, kind: bytes) -> bytes:
        if not text or not isinstance(text, str):
            return b""
        (self._reasoning if kind is REASONING else self._answer).append(whole(text))
        return kind

    def _usual_text(self, text: str | None) -> bytes:
        """Text of the field for answers, as a usual line holds it."""
        if not text:
            return b""
        if not self._tags.over:
            return self._say_tagged(text)
        self._answer.append(text)
        return ANSWER

    def _say_tagged(self, text: Any) -> bytes:
        """Text of the field for answers, in which older servers also send the reasoning."""
        if self._tags.over:
            return self._say(text, ANSWER)
        if not text or not isinstance(text, str):
            return b""
        return b"".join(
            [
                self._say(part, REASONING if is_reasoning else ANSWER)
                for part, is_reasoning in self._tags.split(text)
            ]
        )


class OllamaStream(Stream):
    """/api/generate: one JSON object a line, the last with ``done`` and the counters."""

    def feed(self, data: bytes) -> bytes:
        if data.find(b"\n") == len(data) - 1 and not self._tail and not self._skips:
            return self._line(data)  # one whole line, as nearly always
        return super().feed(data)

    def _line(self, line: bytes) -> bytes:
        if len(line) > SHORT_LINE:
            return self._slowly(line.strip())
        try:
            if not line.isascii():
                line.decode()  # msgspec looks at no character of what it skips
            said = decode_ollama(line)
        except UNUSUAL:
            return self._slowly(line.strip())
        if said.done:
            return self._slowly(line.strip())
        if said.thinking:
            self._reasoning.append(said.thinking)
            return REASONING + self._usual_text(said.response)
        return self._usual_text(said.response)

    def _slowly(self, line: bytes) -> bytes:
        """A line that is not usual: the last, an error, an odd one."""
        if (found := json_object(line)) is None:
            if line:
                self._refuse(line)
            return b""
        if says_error(found):
            self._say_error(found)
        kinds = self._say(found.get("thinking"), REASONING) + self._say_tagged(
            found.get("response")
        )
        if found.get("done") is True:
            self._finish(found)
        return kinds

    def _finish(self, found: dict) -> None:
        final = self.final
        final.done = True
        final.done_reason = word(found.get("done_reason"), self._secret)
        final.output_tokens = count(found.get("eval_count"))
        final.prompt_tokens = count(found.get("prompt_eval_count"))
        final.cached_tokens = count(found.get("prompt_eval_cached_count"))
        final.server_total_ns = count(found.get("total_duration"))
        final.server_load_ns = count(found.get("load_duration"))
        final.server_prefill_ns = count(found.get("prompt_eval_duration"))
        final.server_decode_ns = count(found.get("eval_duration"))


class ThinkTags:
    """Tells reasoning from answer where both come in one field, as <think>...</think>.

    Ollama before 0.9 sends them so, and so does any server asked to leave them. ``over`` is True from where on all is answer.
    """

    OPEN, CLOSE = "<think>", "</think>"

    def __init__(self) -> None:
        self.over = False
        self._begun = False
        self._seen = ""

    def split(self, text: str) -> list[tuple[str, bool]]:
        """The text as (part, is it reasoning); tags belong to the reasoning."""
        self._seen = (self._seen + text).lstrip()
        if not self._begun:
            start = self._seen[: len(self.OPEN)]
            if not self.OPEN.startswith(start):
                self.over = True
                return [(text, False)]
            self._begun = start == self.OPEN
            return [(text, True)] if not self._begun else self._reason(text)
        return self._reason(text)

    def _reason(self, text: str) -> list[tuple[str, bool]]:
        end = self._seen.find(self.CLOSE)
        if end < 0:
            self._seen = self.OPEN + self._seen[len(self.OPEN) :][-len(self.CLOSE) :]
            return [(text, True)]
        self.over = True
        rest = self._seen[end + len(self.CLOSE) :]
        thought = text[: len(text) - len(rest)]
        return [(part, kind) for part, kind in ((thought, True), (rest, False)) if part]


class OpenAIStream(Stream):
    """/v1/chat/completions: server-sent events, the data of each one JSON object.

    Read as https://html.spec.whatwg.org/multipage/server-sent-events.html has it, with two
    liberties: a ``data`` line that is a JSON object by itself counts when it comes, and the
    last event needs no blank line.
    """

    def __init__(self, secret: Secret = NO_SECRET) -> None:
        super().__init__(secret)
        self._is_between = False  # two events, the first of which has been seen
        self._after_cr = False  # a line feed that comes next belongs to it
        self._begun = False
        self._forget()

    def _forget(self) -> None:
        """The next event begins."""
        self._name = b""
        self._parts: list[bytes] = []  # of its data, as long as they are no object
        self._parts_bytes = 0
        self._object = b""  # its data, where that was one

    def feed(self, data: bytes) -> bytes:
        if self._is_between and data[-2:] == b"\n\n" and data[:5] == b"data:":
            line = data[5:-2]
            if LF not in line and CR not in line and (kinds := self._event(line)) is not None:
                return kinds  # one whole event, as nearly always
        kinds = super().feed(self._with_line_feeds(data) if self._after_cr or CR in data else data)
        self._is_between = self._begun and not (
            self._tail or self._skips or self._after_cr or self._name or self._parts or self._object
        )
        return kinds

    def close(self) -> bytes:
        return super().close() + self._dispatch()

    def _with_line_feeds(self, data: bytes) -> bytes:
        """CR, LF and CRLF all end a line, also where CR and LF come apart."""
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data[-1] == CR
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _line(self, line: bytes) -> bytes:
        if not self._begun:
            self._begun, line = True, line.removeprefix(BOM)
        if line[:5] == b"data:":
            return self._data(line[5:])
        if not line:
            return self._dispatch()
        if line[:1] == b"{":  # an error that is not an event
            self._bare(line)
        name, _, value = line.partition(b":")
        if name == b"event":
            self._name = value.strip()
        elif name == b"error" and value.strip() not in (b"", b"null"):  # llama-server until 2025
            self._fail_with(value)
        return b""  # a comment (": ping"), another field

    def _data(self, data: bytes) -> bytes:
        """One line of an event's data."""
        if (is_last := data.strip() == b"[DONE]") or self._parts or self._name == b"error":
            return self._dispatch_last() if is_last else self._keep_part(data)
        if (kinds := self._event(data)) is not None:
            self._object = data
            return kinds
        return self._keep_part(data) if data.strip() else b""

    def _dispatch_last(self) -> bytes:
        kinds = self._dispatch()
        self.final.done = True
        return kinds

    def _keep_part(self, data: bytes) -> bytes:
        self._parts.append(data.strip())
        self._parts_bytes += len(data) + PART_BYTES
        if self._parts_bytes > LONGEST_LINE:
            self._fail(f"an event longer than {LONGEST_LINE >> 20} MiB")
            self._forget()
        return b""

    def _dispatch(self) -> bytes:
        """The end of an event: a blank line, or the end of all."""
        name, data = self._name, b"\n".join(self._parts)
        if not name and not data:
            if self._object:
                self._forget()
            return b""
        earlier = self._object
        self._forget()
        if name == b"error":
            self._fail_with(data or earlier)
        elif data and (kinds := self._event(data)) is not None:
            return kinds
        elif data:
            self._refuse(data)
        return b""

    def _event(self, data: bytes) -> bytes | None:
        """The chunks that the data of an event hold; None where they are no JSON object."""
        if len(data) > SHORT_LINE:
            return self._slowly(data.strip())
        try:
            if not data.isascii():
                data.decode()  # msgspec looks at no character of what it skips
            delta = decode_openai(data).choices[0].delta
        except UNUSUAL:
            return self._slowly(data.strip())
        reasoning = delta.reasoning_content or delta.reasoning
        if not reasoning and self._tags.over and (text := delta.content):
            self._answer.append(text)
            return ANSWER
        if reasoning:
            self._reasoning.append(reasoning)
            return REASONING + self._usual_text(delta.content)
        return self._usual_text(delta.content)

    def _slowly(self, data: bytes) -> bytes | None:
        """An event that is not usual: the last, an error, an odd one."""
        if (found := json_object(data)) is None:
            return None
        if says_error(found):
            self._say_error(found)
        kinds = [self._choice(choice) for choice in listed(found, "choices")]
        if isinstance(usage := found.get("usage"), dict):
            self._usage(usage)
        if isinstance(timings := found.get("timings"), dict):
            self._timings(timings)
        return b"".join(kinds)

    def _bare(self, line: bytes) -> None:
        """A line of JSON that is no field of an event."""
        if (found := json_object(line.strip())) is None:
            self._refuse(line)
        elif says_error(found):
            self._say_error(found)

    def _fail_with(self, said: bytes) -> None:
        """An error that comes as JSON or as text."""
        text = said.decode("utf-8", "replace").strip()
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            body = text
        self._say_error(body if isinstance(body, (dict, str)) else text)

    def _choice(self, choice: dict) -> bytes:
        delta, kinds = choice.get("delta"), b""
        if isinstance(delta, dict):
            kinds = self._parts_of(delta.get("reasoning_content") or delta.get("reasoning"), True)
            kinds += self._parts_of(delta.get("content"), False)
        if choice.get("error"):
            self._say_error(choice)
        if reason := word(choice.get("finish_reason"), self._secret):
            self.final.done, self.final.done_reason = True, reason
            if reason == "error":
                self._say_error("finish_reason error")
        return kinds

    def _parts_of(self, content: Any, is_reasoning: bool, depth: int = 0) -> bytes:
        """The text of a content: a text, or a list of parts, of which some may be reasoning."""
        if not isinstance(content, list):
            return self._say(content, REASONING) if is_reasoning else self._say_tagged(content)
        kinds = b""
        for part in content if depth < DEEPEST_PART else []:
            if isinstance(part, dict):
                kind = part.get("type")
                thinks = is_reasoning or kind in ("thinking", "reasoning")
                text = (
                    part.get("text") or thinks and (part.get("thinking") or part.get("reasoning"))
                )
                kinds += self._parts_of(text, thinks, depth + 1)
            elif isinstance(part, str):
                kinds += self._parts_of(part, is_reasoning, depth + 1)
        return kinds

    def _usage(self, usage: dict) -> None:
        """Counts; what is not known here leaves what was known as it is."""
        final, details = self.final, usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        final.output_tokens = known(usage.get("completion_tokens"), final.output_tokens)
        final.prompt_tokens = known(usage.get("prompt_tokens"), final.prompt_tokens)
        final.cached_tokens = known(cached, final.cached_tokens)

    def _timings(self, timings: dict) -> None:
        """llama-server's own: milliseconds of prefill and decode, and counts."""
        final = self.final
        final.server_prefill_ns = known(
            scaled(timings.get("prompt_ms"), NS_PER_MS), final.server_prefill_ns
        )
        final.server_decode_ns = known(
            scaled(timings.get("predicted_ms"), NS_PER_MS), final.server_decode_ns
        )
        cached, computed = count(timings.get("cache_n")), count(timings.get("prompt_n"))
        if final.output_tokens is None:
            final.output_tokens = count(timings.get("predicted_n"))
        if final.cached_tokens is None:
            final.cached_tokens = cached
        if final.prompt_tokens is None and computed is not None:
            final.prompt_tokens = count(computed + (cached or 0))


class Ollama:
    """Ollama's own protocol, every version since 0.1.33."""

    name = "ollama"
    path = "/api/generate"
    stream = OllamaStream
    last_marks = (b"true",)  # one of them is in each last line, and in few others

    def body(
        self,
        model: str,
        prompt: str,
        tokens: int | None = None,
        think: bool | None = None,
        options: dict | None = None,
        system: str | None = None,
        history: tuple = (),
    ) -> dict:
        """The JSON body of one request. ``tokens`` is a ceiling: there is no ignore-EOS.

        ``history`` is what was said before, (question, answer) each; it goes before the
        prompt as a transcript, since /api/generate has no messages.
        """
        said = "".join(
            f"User: {question}\n\nAssistant: {answer}\n\n" for question, answer in history
        )
        made: dict = {
            "model": model,
            "prompt": f"{said}User: {prompt}" if said else prompt,
            "stream": True,
        }
        options = dict(options or {})
        if tokens is not None:
            options["num_predict"] = tokens
        if options:
            made["options"] = options
        if think is not None:
            made["think"] = think
        if system:
            made["system"] = system
        return made

    def is_last(self, line: bytes) -> bool:
        """Does the reply end with this line, given without its line end?"""
        found = json_object(line.strip())
        return found is not None and found.get("done") is True

    def version(self, get: Get) -> str:
        """What answers here, in words. Raises ProtocolError when it is no Ollama."""
        status, found = get("/api/version")
        if status != 200 or not isinstance(found, dict):
            raise ProtocolError(
                f"answers {status} to /api/version: it is no Ollama; --api openai may fit"
            )
        return text_of(found.get("version")) or "unknown"

    def models(self, get: Get) -> list[str]:
        """The models that are there."""
        _, found = get("/api/tags")
        return [m["name"] for m in listed(found, "models") if isinstance(m.get("name"), str)]

    def describe(self, get: Get, model: str) -> Target:
        """What /api/version, /api/show, /api/tags and /api/ps say of a model."""
        target = Target(server="ollama", server_version=self.version(get))
        status, shown = get("/api/show", {"model": model, "name": model})
        if status == 200 and isinstance(shown, dict):
            self._details(target, shown)
        for entry in listed(get("/api/tags")[1], "models"):
            if same_model(entry.get("name"), model):
                target.digest = text_of(entry.get("digest"))
        for entry in listed(get("/api/ps")[1], "models"):
            if same_model(entry.get("name"), model):
                target.size_bytes = count(entry.get("size"))
                target.vram_bytes = count(entry.get("size_vram"))
                target.context_tokens = count(entry.get("context_length"))
        return target

    def _details(self, target: Target, shown: dict) -> None:
        details = shown.get("details")
        if isinstance(details, dict):
            target.family = text_of(details.get("family"))
            target.parameter_size = text_of(details.get("parameter_size"))
            target.quantization = text_of(details.get("quantization_level"))
        if isinstance(capabilities := shown.get("capabilities"), list):
            target.thinks = "thinking" in capabilities


class OpenAI:
    """OpenAI's protocol as llama-server, vLLM, LM Studio, MLX and Ollama speak it."""

    name = "openai"
    path = "/v1/chat/completions"
    stream = OpenAIStream
    last_marks = (b"[DONE]",)

    def body(
        self,
        model: str,
        prompt: str,
        tokens: int | None = None,
        think: bool | None = None,
        options: dict | None = None,
        system: str | None = None,
        history: tuple = (),
    ) -> dict:
        """The JSON body of one request; options go to the top level."""
        messages = [{"role": "system", "content": system}] if system else []
        for question, answer in history:
            messages += [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
        messages.append({"role": "user", "content": prompt})
        made: dict = {
            "model": model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if tokens is not None:
            made["max_tokens"] = tokens
        if think is not None:
            made["chat_template_kwargs"] = {"enable_thinking": think}
        return made | (options or {})

    def is_last(self, line: bytes) -> bool:
        """Does the reply end with this line, given without its line end?"""
        return line.startswith(b"data:") and line[5:].strip() == b"[DONE]"

    def version(self, get: Get) -> str:
        """What answers here. Raises ProtocolError when it does not speak the protocol."""
        status, found = get("/v1/models")
        if status == 401:
            raise ProtocolError("wants an API key: put it into OPENAI_API_KEY")
        if (
            status != 200 or not isinstance(found, dict) and found != ""
        ):  # mlx_lm.server without a cache of models says nothing
            raise ProtocolError(
                f"answers {status} to /v1/models: it does not speak OpenAI's protocol"
            )
        return "unknown"

    def models(self, get: Get) -> list[str]:
        _, found = get("/v1/models")
        return [m["id"] for m in listed(found, "data") if isinstance(m.get("id"), str)]

    def describe(self, get: Get, model: str) -> Target:
        """What /v1/models says, and llama-server's /props and vLLM's /version where they are."""
        target = Target()
        entries = listed(get("/v1/models")[1], "data")
        for entry in entries:
            if entry.get("id") == model or len(entries) == 1:  # a llama-server has one, by any name
                target.server = text_of(entry.get("owned_by"))
                self._meta(target, entry.get("meta"))
        status, props = get("/props")
        if status == 200 and isinstance(props, dict) and "total_slots" in props:
            target.server = "llama.cpp"
            target.server_version = text_of(props.get("build_info"))
            target.slots, target.slots_source = count(props.get("total_slots")), "/props"
            settings = props.get("default_generation_settings")
            if isinstance(settings, dict):
                target.context_tokens = count(settings.get("n_ctx"))
        elif target.server == "vllm":
            found = get("/version")[1]
            target.server_version = (
                text_of(found.get("version")) if isinstance(found, dict) else None
            )
        return target

    def _meta(self, target: Target, meta: Any) -> None:
        if isinstance(meta, dict):
            target.size_bytes = count(meta.get("size"))
            if parameters := count(meta.get("n_params")):
                target.parameter_size = (
                    f"{parameters / 1e9:.1f}B" if parameters > 1e9 else f"{parameters / 1e6:.0f}M"
                )
            target.quantization = text_of(meta.get("ftype"))


SERVERS = {"ollama": Ollama(), "openai": OpenAI()}


class ProtocolError(Exception):
    """A server does not speak the protocol; str() goes on after the server's address."""


def host_url(text: str) -> str:
    """A base URL from what --host or OLLAMA_HOST may hold.

    host, host:port, :port, [::1]:port, a bare IPv6 address, scheme://host[:port][/path].
    The port is 11434, or 80 and 443 where http:// and https:// are written out. An address
    that means every interface becomes the loopback one. Raises ValueError.
    """
    text = text.strip().strip("\"'").strip()
    scheme, has_scheme, rest = text.rpartition("://")
    scheme = scheme.lower() if has_scheme else "http"
    if scheme not in ("http", "https"):
        raise ValueError(f"{text!r} is no address of a server: http:// or https:// is meant")
    rest, slash, path = rest.partition("/")
    if rest.count(":") > 1 and not rest.startswith("["):
        rest = f"[{rest}]"
    try:
        parts = urlsplit(f"//{rest}")
    except ValueError:
        raise ValueError(f"{text!r} is no address of a server: host:port is meant") from None
    try:
        port = parts.port
    except ValueError:
        raise ValueError(
            f"{text!r} has no valid port: host:port is meant, with a port up to 65535"
        ) from None
    if port is None:
        port = {"http": 80, "https": 443}[scheme] if has_scheme else OLLAMA_PORT
    host = connectable(parts.hostname or "127.0.0.1")
    if re.search(r"[\s@<>\"'`\\?#\x00-\x1f\x7f]", rest + path):
        raise ValueError(f"{text!r} is no address of a server: host:port is meant")
    path = re.sub(r"/v1/?$", "", slash + path).rstrip("/")
    return f"{scheme}://{host}:{port}{path}"


def connectable(host: str) -> str:
    """An address that can be connected to, in brackets when it is IPv6."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return f"[{address}]" if address.version == 6 else str(address)


def error_text(body: Any, secret: Secret = NO_SECRET, is_cut: bool = False) -> str:
    """The words of an error body, decoded JSON or text; one line of at most 500 characters."""
    if isinstance(body, dict):
        error = body.get("error") or body.get("detail") or body.get("message") or body
        if isinstance(error, dict):
            error = error.get("message", error)
        body = error if isinstance(error, str) else dumped(error, secret)
    text = re.sub(
        r"<[^<>]*>", " ", str(body)
    )  # the tags of a proxy's page; [^>]* would look on to the end at every "<"
    return flat(secret.mask(text, is_cut)) or "an error without words"


def beginning(line: bytes, secret: Secret = NO_SECRET) -> str:
    """How a line begins that is not what it should be; one line of at most 100 characters."""
    text = line[:REFUSED_BYTES].decode("utf-8", "replace")
    return flat(secret.mask(text, is_cut=len(line) > REFUSED_BYTES))[:100]


def dumped(value: Any, secret: Secret) -> str:
    try:
        return json.dumps(secret.mask_all(value))
    except RecursionError:
        return "an error nested too deeply to read"


def flat(text: str) -> str:
    """One line that is kept of an error."""
    return whole(" ".join(text.split()))[:LONGEST_ERROR]


def whole(text: str) -> str:
    """Text without halves of characters."""
    return text if text.isascii() else HALF_PAIR.sub("\ufffd", text)


def count(value: Any) -> int | None:
    """A counter as a whole number of 0 to LARGEST_COUNT, else None (unknown)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return int(value) if 0 <= value <= LARGEST_COUNT else None


def known(value: Any, before: int | None) -> int | None:
    """A counter, or what it was before where this one is none."""
    return before if (counted := count(value)) is None else counted


def says_error(found: dict) -> bool:
    """Is an object of a stream an error? Some servers say so with ``detail`` (FastAPI) or ``object`` (vLLM)."""
    if found.get("error") or found.get("object") == "error":
        return True
    return bool(found.get("detail")) and not found.keys() & {"choices", "response", "done"}


def scaled(value: Any, factor: float) -> Any:
    """A number times a factor; anything else as it is."""
    fits = isinstance(value, float) or type(value) is int and abs(value) <= LARGEST_COUNT
    return value * factor if fits else value


def word(value: Any, secret: Secret = NO_SECRET) -> str | None:
    """A short string, else None."""
    return whole(secret.mask(value))[:100] if isinstance(value, str) and value else None


def text_of(value: Any) -> str | None:
    """A short text or a number in digits, else None."""
    return word(str(value)) if isinstance(value, (str, int, float)) else None


def listed(body: Any, key: str) -> list[dict]:
    """The objects in a list of a decoded body; [] where there is none."""
    found = body.get(key) if isinstance(body, dict) else None
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def same_model(name: Any, model: str) -> bool:
    """Do the two names mean one model? Ollama adds :latest where no tag is given."""
    return (
        isinstance(name, str)
        and name.removesuffix(":latest").lower() == model.removesuffix(":latest").lower()
    )

"""Names from before the split, until every importer uses the new modules."""

from ollama_bench.protocols import ollama, openai
from ollama_bench.protocols.addresses import host_url as host_url
from ollama_bench.protocols.chunks import ANSWER as ANSWER
from ollama_bench.protocols.chunks import REASONING as REASONING
from ollama_bench.protocols.chunks import StreamSummary as Final
from ollama_bench.protocols.errors import error_text as error_text
from ollama_bench.protocols.errors import quote_line as beginning
from ollama_bench.protocols.json_values import MAX_COUNT as LARGEST_COUNT
from ollama_bench.protocols.line_stream import MAX_LINE_BYTES as LONGEST_LINE
from ollama_bench.protocols.ollama_stream import OllamaStream as OllamaStream
from ollama_bench.protocols.openai_stream import OpenAIStream as OpenAIStream
from ollama_bench.protocols.protocol import ProtocolError as ProtocolError
from ollama_bench.protocols.secret import NO_SECRET as NO_SECRET
from ollama_bench.protocols.secret import Secret as Secret
from ollama_bench.protocols.target import is_same_model as same_model
from ollama_bench.protocols.text import MAX_ERROR_CHARS as LONGEST_ERROR
from ollama_bench.protocols.text import one_line as flat

__all__ = ["Final", "LARGEST_COUNT", "LONGEST_ERROR", "LONGEST_LINE", "SERVERS"]
__all__ += ["beginning", "flat", "same_model"]


class Ollama(ollama.Ollama):
    """Ollama with the old names of its methods."""

    last_marks = ollama.Ollama.last_line_marks
    stream = ollama.Ollama.create_stream
    body = ollama.Ollama.build_body
    is_last = ollama.Ollama.is_last_line
    version = ollama.Ollama.fetch_version
    models = ollama.Ollama.fetch_models
    describe = ollama.Ollama.fetch_target


class OpenAI(openai.OpenAI):
    """OpenAI with the old names of its methods."""

    last_marks = openai.OpenAI.last_line_marks
    stream = openai.OpenAI.create_stream
    body = openai.OpenAI.build_body
    is_last = openai.OpenAI.is_last_line
    version = openai.OpenAI.fetch_version
    models = openai.OpenAI.fetch_models
    describe = openai.OpenAI.fetch_target


from ollama_bench.protocols.registry import PROTOCOLS as SERVERS

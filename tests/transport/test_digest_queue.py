"""One recording at a time is digested, and when."""

import queue
import threading
import time

import pytest

from ollama_bench.transport.digest_queue import DigestQueue
from ollama_bench.transport.reader import Reader
from tests.transport.scripted_server import (
    END,
    HEAD,
    chunk,
    exchange_with,
    server,
    text,
)


def test_one_recording_at_a_time_is_read():
    digests, taken = DigestQueue(), []

    class Recorded:
        is_urgent = pauses = False
        recorded_bytes = 10

        def begin_digest(self):
            taken.append(self)

    first, second, urgent = Recorded(), Recorded(), Recorded()
    urgent.is_urgent = True
    for recorded in (first, second, urgent):
        digests.offer(recorded)
    assert taken == [first] and digests.waiting_bytes == 20
    digests.done()
    assert taken == [first, urgent]
    digests.done()
    assert taken == [first, urgent, second] and digests.waiting_bytes == 0


@pytest.mark.parametrize("later_s, hurries", [(20.0, True), (0.05, False)])
def test_an_answer_is_held_back_until_its_time_or_until_nobody_streams(
    later_s, hurries
):
    digests, order = DigestQueue(later_s), queue.SimpleQueue()
    with server([HEAD + chunk(b"a\n") + END]) as url, Reader() as reader:

        def work():
            order.put(exchange_with(url, reader=reader, digests=digests))

        thread = threading.Thread(target=work)
        thread.start()
        while not len(digests):
            time.sleep(0.005)
        digests.look()
        if hurries:
            assert order.empty() and digests.waiting_bytes > 0
            digests.hurry()
        else:
            time.sleep(2 * later_s)
            digests.look()
        assert text(order.get(timeout=10)[0]) == b"a\n" and not len(
            digests
        )
        thread.join()

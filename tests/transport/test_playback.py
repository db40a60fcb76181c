"""Recorded bytes are handed out with the instant of their read."""

from array import array

from ollama_bench.transport.playback import Playback

DATA = bytearray(b"head\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n")
HEAD_END = 8


def play(*ends):
    return Playback(
        DATA,
        array("q", range(1, len(ends) + 1)),
        array("q", ends),
        HEAD_END,
    )


def read(playback, size=100):
    buffer = bytearray(size)
    taken, instant = playback.read(buffer)
    return bytes(buffer[:taken]), instant


def test_the_head_is_handed_out_alone_and_never_two_reads_at_once():
    playback = play(16, len(DATA))
    assert read(playback) == (b"head\r\n\r\n", 1)
    assert read(playback, 5) == (b"1\r\na\r", 1)
    assert read(playback) == (b"\n2\r", 1) and not playback.is_finished
    assert (
        read(playback) == (b"\nbc\r\n0\r\n\r\n", 2)
        and playback.is_finished
    )


def test_a_chunk_has_the_instant_of_the_read_that_completes_it():
    playback = play(HEAD_END, 12, 18, len(DATA))
    read(playback)
    assert list(playback.chunks()) == [(2, b"a"), (4, b"bc")]
    assert read(playback) == (b"0\r\n\r\n", 4)


def test_the_instant_of_a_position_is_that_of_the_first_read_beyond_it():
    playback = play(HEAD_END, 12)
    assert [playback.find_instant(at) for at in (0, 7, 8, 11, 12)] == [
        1,
        1,
        2,
        2,
        None,
    ]


def test_freed_bytes_leave_their_instants():
    playback = play(len(DATA))
    playback.free()
    assert list(playback.instants) == [1]

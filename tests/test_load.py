"""load.py: every end of a request has its own status; bursts, cuts and figures."""
import contextlib
import itertools
import socket
import threading
import time

import pytest

import api
import attempt
import load

NEVER = load.Limits(stall_s=None)


def fire(sim_url, count=1, api_name="ollama", limits=NEVER, interrupt=None, headers=None, observer=None, **body):
    protocol = api.SERVERS[api_name]
    tasks = [load.Task(n, protocol, sim_url + protocol.path, protocol.body("deepseek-r1:7b", f"[{n}] why?", **body), headers or {})
             for n in range(1, count + 1)]
    level = load.Burst(tasks, limits, interrupt)
    level.run(observer)
    return level


@pytest.fixture(scope="module")
def exact(module_sim):
    return module_sim("--profile", "exact", "--ttft", "100", "--itl", "10", "--tokens", "20")


@pytest.mark.parametrize("api_name", ["ollama", "openai"])
@pytest.mark.parametrize("kernel_stamps", [True, False])
def test_times_and_counts_are_the_simulators(exact, api_name, kernel_stamps):
    level = fire(exact.url, 4, api_name, load.Limits(kernel_stamps=kernel_stamps))
    assert [o.task.number for o in level.outcomes] == [1, 2, 3, 4]
    for outcome in level.outcomes:
        row = outcome.row(0)
        assert (row["status"], row["http_status"], row["output_tokens"], row["output_tokens_source"]) == ("completed", 200, 20, "server")
        assert row["chunks"] == 20 == len(outcome.chunk_ns) and row["reasoning_chunks"] == sum(outcome.chunk_is_reasoning)
        assert 0.1 <= (row["first_text_ns"] - row["sent_ns"]) / 1e9  # the simulator's --ttft
        assert (row["last_text_ns"] - row["first_text_ns"]) / 1e9 >= 0.9 * 19 * 0.010  # 19 gaps of --itl
        assert list(outcome.chunk_ns) == sorted(outcome.chunk_ns) and outcome.answer or outcome.reasoning
    assert level.started_ns <= min(o.sent_ns for o in level.outcomes)


FAULTS = [  # the simulator's fault, what it may be called, HTTP status
    ("reset_before_headers", {"reset"}, None), ("reset_after_headers", {"reset"}, 200), ("reset_mid_line", {"reset"}, 200),
    ("html_502", {"http_error"}, 502), ("error_first", {"stream_error", "http_error"}, None), ("error_last", {"stream_error"}, 200),
    ("no_done", {"reset"}, 200), ("no_done_stop", {"truncated"}, 200), ("no_text", {"empty"}, 200), ("429", {"http_error"}, 429), ("503", {"http_error"}, 503),
    ("403_empty", {"http_error"}, 403), ("garbage", {"stream_error"}, None), ("redirect", {"http_error"}, None),
    ("gzip", {"completed"}, 200), ("done_twice", {"completed"}, 200), ("counters_nan", {"completed"}, 200), ("huge_line", {"completed"}, 200),
]


@pytest.fixture(scope="module")
def short(module_sim):
    return module_sim("--profile", "exact", "--ttft", "5", "--itl", "1", "--tokens", "10")


@pytest.mark.parametrize("fault, statuses, http_status", FAULTS)
def test_every_fault_is_one_outcome_of_its_own(short, fault, statuses, http_status):
    outcome = fire(short.url, limits=load.Limits(stall_s=20), headers={"X-Sim-Fault": fault}).outcomes[0]
    assert outcome.status in statuses, outcome
    if http_status is not None:
        assert outcome.http_status == http_status
    assert (outcome.error is None) == (outcome.status == "completed") and "\n" not in (outcome.error or "")


def test_nobody_there_is_refused(unused_port):
    outcome = fire(f"http://127.0.0.1:{unused_port}").outcomes[0]
    assert outcome.status == "refused" and outcome.sent_ns is None and outcome.error


def test_a_level_that_could_not_even_connect_is_not_the_clients_fault(unused_port):
    level = fire(f"http://127.0.0.1:{unused_port}", 4)
    figures = level.client_figures()
    assert figures["client_cpu_ratio"] is None and "core" not in (figures["client_limited_why"] or "")
    assert level.ended_ns == level.tally.last_ns == level.started_ns  # it took no time, and none before it began


@pytest.fixture
def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Seen(load.Observer):
    def __init__(self):
        self.outcomes, self.begun_numbers = [], []

    def begun(self, task):
        self.begun_numbers.append(task.number)

    def ended(self, outcome):
        self.outcomes.append(outcome)


def test_an_open_loop_at_a_server_that_is_not_there_ends(unused_port):
    ollama = api.SERVERS["ollama"]
    seen = Seen()
    level = load.Load(lambda n: load.Task(n, ollama, f"http://127.0.0.1:{unused_port}/x", {}), NEVER, 3, arrivals=load.poisson(20, 1), until_s=1)
    level.run(seen)
    assert {o.status for o in seen.outcomes} == {"refused"} and len(seen.outcomes) == level.tally.ended <= 30
    assert all(o.due_ns is not None and o.sent_ns is None and o.ended_ns >= o.due_ns for o in seen.outcomes)  # each fails when it was due


@pytest.fixture
def impatient():
    """Answers whoever asks within 1.2 s of connecting, and closes who is silent for longer, as llama-server does after 5 s."""
    def talk(connection):
        connection.settimeout(1.2)
        with connection, contextlib.suppress(OSError):
            while connection.recv(65_536):
                connection.sendall(ANSWER)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x"


LINE = b'{"response": "a", "done": true}\n'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(LINE), LINE)


@pytest.mark.parametrize("way", [{"ramp_s": 3.0}, {"arrivals": iter([0.0, 0.9, 1.0, 2.5, 2.6]), "planned": 5}], ids=["ramp", "open loop"])
def test_nobody_is_connected_long_before_it_is_due(impatient, way):
    level, seen = load.Load(lambda n: load.Task(n, api.SERVERS["ollama"], impatient, {}), NEVER, 5, **way), Seen()
    level.run(seen)
    assert [o.status for o in seen.outcomes] == ["completed"] * 5
    assert sorted(o.task.number for o in seen.outcomes) == [1, 2, 3, 4, 5] and level.pool_waits == level.never_sent == 0


@contextlib.contextmanager
def rude(early):
    """Says something to whoever connects, and hangs up before it was asked anything; some connections later than others."""
    def talk(connection, number):
        time.sleep(number % 2 * 0.1)
        with connection, contextlib.suppress(OSError):
            connection.sendall(early)
            connection.shutdown(socket.SHUT_RDWR)

    def serve():
        with contextlib.suppress(OSError):
            for number in itertools.count():
                threading.Thread(target=talk, args=(listener.accept()[0], number), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x"


@pytest.mark.parametrize("way", [{}, {"planned": 24}, {"arrivals": load.poisson(40, 1), "planned": 12}], ids=["burst", "closed", "open"])
@pytest.mark.parametrize("early, status", [(b"", "reset"), (ANSWER, "stream_error")])
def test_a_server_that_hangs_up_or_answers_before_it_is_asked(early, status, way):
    seen = Seen()
    seen.ready = lambda tasks: seen.begun_numbers.extend(task.number for task in tasks)
    with rude(early) as url:
        level = load.Load(lambda n: load.Task(n, api.SERVERS["ollama"], url, {}), load.Limits(stall_s=5), 12, **way)
        level.run(seen)
    count = level.planned
    assert sorted(o.task.number for o in seen.outcomes) == list(range(1, count + 1))
    assert len(seen.begun_numbers) == len(set(seen.begun_numbers))  # each is told once: a second row of it would be refused
    assert {status} <= {o.status for o in seen.outcomes} <= {status, "reset", "completed"}, {o.error for o in seen.outcomes}
    assert all(o.ended_ns >= (o.due_ns or o.sent_ns or 0) for o in seen.outcomes)
    assert all(o.sent_ns <= o.first_byte_ns for o in seen.outcomes if o.status == "completed")  # asked just in time


def test_a_full_pool_is_counted_and_not_called_the_clients_lateness(exact):
    ollama = api.SERVERS["ollama"]
    level = load.Load(lambda n: load.Task(n, ollama, exact.url + ollama.path, ollama.body("deepseek-r1:7b", f"[{n}]")), NEVER, 1,
                      arrivals=iter([0.0, 0.01, 0.02]), planned=3)
    seen = Seen()
    level.run(seen)
    assert [o.status for o in seen.outcomes] == ["completed"] * 3 and level.pool_waits == 2
    assert seen.begun_numbers == [1, 2, 3] and max(o.send_lag_ns for o in seen.outcomes) < 0.1e9
    assert seen.outcomes[2].sent_ns - seen.outcomes[2].due_ns > 0.3e9  # behind two replies of 0.3 s
    assert level.client_figures()["client_send_lag_p99_s"] < 0.3


def test_what_was_due_and_never_sent_is_counted(exact):
    ollama = api.SERVERS["ollama"]
    level = load.Load(lambda n: load.Task(n, ollama, exact.url + ollama.path, ollama.body("deepseek-r1:7b", f"[{n}]")), NEVER, 1,
                      arrivals=iter([0.0, 0.1, 0.15, 0.2]), until_s=0.25)
    seen = Seen()
    level.run(seen)
    assert level.tally.ended == len(seen.outcomes) == 1 and level.never_sent == level.pool_waits == 3


def test_turns_of_a_conversation_use_up_no_question(exact):
    """Each question once, in order, and as many requests as were planned: a conversation is cut where they end."""
    ollama, asked = api.SERVERS["ollama"], []

    def turn(number, question, place):
        def follow(next_number, _):
            return turn(next_number, question, place + 1)
        body = ollama.body("deepseek-r1:7b", f"[{question}.{place}]", 2)
        return load.Task(number, ollama, exact.url + ollama.path, body, turn=place, follow=follow if place < 3 else None)

    def source(question):
        asked.append(question)
        return turn(question, question, 1)

    level, seen = load.Load(source, NEVER, 2, planned=8), Seen()
    level.run(seen)
    assert sorted(asked) == [1, 2, 3, 4] and sorted(o.task.number for o in seen.outcomes) == list(range(1, 9))
    assert level.cpu_s > 0  # what is measured until the last stream's end was measured


def test_a_deadline_cuts_and_keeps_what_came(module_sim):
    slow = module_sim("--profile", "exact", "--ttft", "10", "--itl", "50", "--tokens", "1000")
    level = fire(slow.url, 3, limits=load.Limits(deadline_s=1.0))
    for outcome in level.outcomes:
        assert outcome.status == "cancelled" and "deadline" in outcome.error and 3 <= len(outcome.chunk_ns) < 100


def test_a_stalled_stream_is_told_from_a_waiting_one(module_sim):
    stalling = module_sim("--profile", "exact", "--ttft", "10", "--itl", "5", "--tokens", "10", "--fault", "stall:4")
    outcome = fire(stalling.url, limits=load.Limits(stall_s=0.6)).outcomes[0]
    assert (outcome.status, outcome.error) == ("stalled", "nothing for 0.6 s") and len(outcome.chunk_ns) >= 3
    waiting = module_sim("--profile", "exact", "--ttft", "10", "--itl", "100", "--tokens", "15", "--slots", "1")
    level = fire(waiting.url, 2, limits=load.Limits(stall_s=0.6))  # the second waits 1.5 s while the first streams
    assert [o.status for o in level.outcomes] == ["completed", "completed"]


class Broken(load.Observer):
    def tick(self, level):
        raise RuntimeError("a screen that is gone")


@pytest.mark.parametrize("way", [{}, {"planned": 50}, {"arrivals": load.poisson(20, 1), "until_s": 30}], ids=["burst", "closed", "open"])
def test_an_observer_that_fails_leaves_nobody_waiting(module_sim, way):
    slow, ollama = module_sim("--profile", "exact", "--ttft", "10", "--itl", "50", "--tokens", "1000", "--slots", "2"), api.SERVERS["ollama"]
    level = load.Load(lambda n: load.Task(n, ollama, slow.url + ollama.path, ollama.body("deepseek-r1:7b", f"[{n}]")), NEVER, 4, **way)
    with pytest.raises(RuntimeError, match="screen"):
        level.run(Broken())
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("stream", "reader"))]


def test_an_interrupt_cancels_all(module_sim):
    slow = module_sim("--profile", "exact", "--ttft", "10", "--itl", "50", "--tokens", "1000")
    interrupt = threading.Event()

    class Typing(load.Observer):
        def tick(self, level):
            if all(exchange.first_ns for exchange in level.exchanges):
                interrupt.set()

    level = fire(slow.url, 5, interrupt=interrupt, observer=Typing())
    assert [o.status for o in level.outcomes] == ["cancelled"] * 5
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("stream")]


def test_slots_and_queue_show(module_sim):
    slots = module_sim("--profile", "exact", "--ttft", "20", "--itl", "10", "--tokens", "20", "--slots", "2")
    level = fire(slots.url, 4)
    waits = sorted((o.chunk_ns[0] - o.sent_ns) / 1e9 for o in level.outcomes)
    assert waits[1] < 0.19 <= waits[2]  # the last two wait for the first two to end


def test_the_heart_tells_how_late_threads_wake(exact):
    level = fire(exact.url)
    figures = level.client_figures()
    assert len(level.beats_late_ns) >= 5 and figures["client_stall_p99_s"] >= 0
    assert figures["client_cpu_ratio"] >= 0 and figures["client_send_skew_s"] == 0


def test_an_unforeseen_error_is_that_requests_alone(exact, monkeypatch):
    monkeypatch.setattr(attempt, "read_stream", lambda *_: 1 / 0)
    outcome = fire(exact.url).outcomes[0]
    assert outcome.status == "client_error" and "ZeroDivisionError" in outcome.error

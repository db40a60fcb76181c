"""Which of several servers gets a request.

    balancer = Balancer(2, "least-in-flight")
    host = balancer.choose(1)  # its place among the servers, from 0; a request is made ready for it
    balancer.note_sent(host)
    balancer.note_ended(host)

A server that cannot be connected to gets nothing for a while, as behind nginx (fail_timeout,
https://nginx.org/en/docs/http/ngx_http_upstream_module.html): it ends every request at once, and
would seem to be the one with the fewest in flight.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Literal

Balance = Literal["least-in-flight", "round-robin", "random"]
LEFT_OUT_S = 10.0
Rank = tuple[int, ...]


class Balancer:
    """Spreads the requests of a level; any thread may call it.

    least-in-flight: to the server with the fewest requests in flight or made ready, among equals
    to the one that was sent the fewest. round-robin: in turn. random: each with the same chance.
    """

    def __init__(
        self,
        hosts: int = 1,
        policy: Balance = "least-in-flight",
        seed: str = "",
        first: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """first: its place among the servers, modulo their number, is taken first among equals."""
        self._first = first
        self._policy, self._seed, self._clock = policy, seed, clock
        self._lock = threading.Lock()
        # of each server, all guarded by the lock:
        self._ready = [0] * hosts  # chosen, not sent yet
        self._in_flight = [0] * hosts
        self._sent = [0] * hosts
        self._out_until_s = [0.0] * hosts  # of the clock

    def choose(self, number: int) -> int:
        """Choose the server of a question, numbered from 1, and count it there as made ready."""
        with self._lock:
            host = self._pick(number)
            self._ready[host] += 1
            return host

    def stay(self, host: int) -> None:
        """Count the next turn of a conversation as made ready, on the server that it is on."""
        with self._lock:
            self._ready[host] += 1

    def note_sent(self, host: int) -> None:
        """Note that a request that was made ready has left."""
        with self._lock:
            self._ready[host] -= 1
            self._in_flight[host] += 1
            self._sent[host] += 1

    def note_dropped(self, host: int) -> None:
        """Note that a request that was made ready will not be sent."""
        with self._lock:
            self._ready[host] -= 1

    def note_ended(self, host: int) -> None:
        """Note that a request that had left has ended."""
        with self._lock:
            self._in_flight[host] -= 1

    def leave_out(self, host: int) -> None:
        """Choose others for a while: nobody could connect to this one."""
        with self._lock:
            self._out_until_s[host] = self._clock() + LEFT_OUT_S

    def rank(self, host: int) -> Rank:
        """Return what is lower for a server whose requests should leave first."""
        with self._lock:
            is_out = int(self._is_out(host))
            if self._policy != "least-in-flight":
                return (is_out,)
            return is_out, self._in_flight[host], self._sent[host]

    def _pick(self, number: int) -> int:
        hosts = range(len(self._ready))
        known = [host for host in hosts if not self._is_out(host)]
        known = known or list(hosts)
        if self._policy == "round-robin":
            return known[(number - 1) % len(known)]
        if self._policy == "random":
            return random.Random(f"{self._seed} {number}").choice(known)
        return min(known, key=self._count_asked)

    def _count_asked(self, host: int) -> Rank:
        ready = self._ready[host]
        return (
            self._in_flight[host] + ready,
            self._sent[host] + ready,
            (host - self._first) % len(self._ready),
        )

    def _is_out(self, host: int) -> bool:
        return self._clock() < self._out_until_s[host]

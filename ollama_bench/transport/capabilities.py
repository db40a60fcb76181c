"""What this system and the installed libraries can do for the transport."""

from __future__ import annotations

import os
import select

from urllib3 import HTTPResponse, PoolManager

from ollama_bench.transport import syscalls

# the kernel notes when each packet came in
KERNEL_STAMPS = syscalls.STAMPS and syscalls.AVAILABLE

# one thread can receive for all streams; select() handles 512 sockets at most
READS_TOGETHER = syscalls.AVAILABLE and (
    hasattr(select, "epoll") or hasattr(select, "kqueue")
)

# a receive in another thread ends when this side shuts the connection down; on Windows it goes on
# until the server reacts
SHUTDOWN_WAKES = os.name != "nt"

# urllib3 lets its connections be replaced; otherwise requests reads the answer live
RECORDS = hasattr(PoolManager(), "pool_classes_by_scheme") and hasattr(
    HTTPResponse, "read1"
)

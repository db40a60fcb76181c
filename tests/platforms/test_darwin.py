"""macOS' C library as its kernel answers: other sizes than asked for, errors, absent calls."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
import types
from pathlib import Path

import psutil
import pytest

from ollama_bench.monitor import (
    live_view,
    machine,
    memory,
    system_sample,
)
from ollama_bench.monitor.process_sample import ServerProcess
from ollama_bench.platforms import darwin

GIB = 1 << 30
PAGE = 16384
KERN_FAILURE, ENOENT = 5, -1


class Kernel:
    """sysctlbyname, host_statistics64, host_page_size and proc_pid_rusage."""

    def __init__(self, statistics=38, strict=False, failure=0):
        self.values = {
            "hw.memsize": struct.pack("=Q", 32 * GIB),
            "vm.swapusage": struct.pack(
                "=QQQII", 3 * GIB, 2 * GIB, GIB, PAGE, 1
            ),
            "kern.memorystatus_vm_pressure_level": struct.pack("=i", 2),
            "iogpu.wired_limit_mb": struct.pack("=i", 0),
        }
        self.statistics, self.strict, self.failure = (
            statistics,
            strict,
            failure,
        )
        self.asked = []
        self.footprints = {}

    def sysctlbyname(self, name, answer, size, new, new_size):
        value, room = self.values.get(name.decode()), size._obj.value
        if value is None:
            return ENOENT
        size._obj.value = len(value)
        ctypes.memmove(answer, value, min(room, len(value)))
        return -1 if len(value) > room else 0

    def mach_host_self(self):
        return 1234

    def host_page_size(self, host, size):
        size._obj.value = PAGE
        return 0

    def host_statistics64(self, host, flavor, pages, count):
        """Up to macOS 26 what there is room for is written; macOS 27 wants room for all it has."""
        assert (host.value, flavor) == (1234, 4)
        room = count._obj.value
        self.asked.append(room)
        if self.failure or room < 24:
            return self.failure or KERN_FAILURE
        pages[:4] = [1 << 17, 1 << 18, 1 << 19, 1 << 16]
        if self.strict and room < self.statistics:
            count._obj.value = self.statistics
            return darwin.MIG_ARRAY_TOO_LARGE
        count._obj.value = min(room, self.statistics)
        return 0

    def proc_pid_rusage(self, pid, flavor, answer):
        """The layout of version 0: a UUID, seven counters, the footprint, two instants."""
        assert flavor == 0
        if pid not in self.footprints:
            return -1  # EPERM or ESRCH
        ctypes.memmove(
            answer,
            bytes(16)
            + struct.pack("=10Q", *range(7), self.footprints[pid], 8, 9),
            96,
        )
        return 0


@pytest.fixture
def kernel(monkeypatch):
    """kernel(...) -> a Mac's, in the place of this machine's."""

    def start(*arguments, **options):
        found = Kernel(*arguments, **options)
        darwin.find_host.cache_clear()
        monkeypatch.setattr(darwin, "find_libc", lambda: found)
        return found

    yield start
    darwin.find_host.cache_clear()


def refuse(monkeypatch, *names):
    """psutil as it is on macOS 27."""

    def call(*_):
        raise RuntimeError(
            "host_statistics64(HOST_VM_INFO64) syscall failed: (ipc/mig) array not large enough"
        )

    for name in names:
        monkeypatch.setattr(psutil, name, call)


# -- what is asked ----------------------------------------------------------------------


def test_memory_and_swap(kernel):
    kernel()
    assert (darwin.read_memory_bytes(), darwin.read_swap_used_bytes()) == (
        32 * GIB,
        GIB,
    )
    assert darwin.read_available_bytes() == ((1 << 17) + (1 << 19)) * PAGE


@pytest.mark.parametrize(
    "value, number",
    [
        (struct.pack("=i", -5), -5),
        (struct.pack("=q", 1 << 40), 1 << 40),
        (b"", None),
        (b"\1\0", None),
        (bytes(12), None),
        (bytes(600), None),
        (None, None),
    ],
)
def test_integers_have_four_bytes_or_eight(kernel, value, number):
    kernel().values["some.name"] = value
    assert darwin.read_integer("some.name") == number


@pytest.mark.parametrize("value", [b"", bytes(16), None])
def test_a_swap_of_another_layout_is_unknown(kernel, value):
    kernel().values["vm.swapusage"] = value
    assert darwin.read_swap_used_bytes() is None


@pytest.mark.parametrize(
    "options, asked",
    [
        ({}, [38]),
        ({"statistics": 40}, [38]),
        ({"statistics": 62, "strict": True}, [38, 62]),
    ],
)  # macOS 27
def test_the_kernel_says_how_much_room_it_wants_and_is_never_offered_more(
    kernel, options, asked
):
    found = kernel(**options)
    assert darwin.count_pages()._asdict() == {
        "free": 1 << 17,
        "active": 1 << 18,
        "inactive": 1 << 19,
        "wired": 1 << 16,
    }
    assert found.asked == asked


@pytest.mark.parametrize(
    "options",
    [
        {"failure": KERN_FAILURE},
        {"failure": darwin.MIG_ARRAY_TOO_LARGE},
        {"statistics": 300, "strict": True},
        {"statistics": 0},
    ],
)
def test_pages_that_the_kernel_does_not_tell_are_unknown(kernel, options):
    found = kernel(**options)
    assert (
        darwin.count_pages() is None
        and darwin.read_available_bytes() is None
    )
    assert len(found.asked) <= 4


def test_pages_of_no_known_size_are_no_bytes(kernel, monkeypatch):
    monkeypatch.setattr(
        kernel(), "host_page_size", lambda host, size: KERN_FAILURE
    )
    assert darwin.read_available_bytes() is None


def test_a_footprint_is_told_of_processes_of_our_own(kernel):
    kernel().footprints[7] = 25 * GIB
    assert (
        darwin.read_footprint_bytes(7),
        darwin.read_footprint_bytes(8),
    ) == (25 * GIB, None)


def test_a_library_without_the_calls_says_nothing(monkeypatch):
    darwin.find_host.cache_clear()
    for library in (None, types.SimpleNamespace()):
        monkeypatch.setattr(
            darwin, "find_libc", lambda library=library: library
        )
        assert {
            darwin.read_memory_bytes(),
            darwin.read_available_bytes(),
            darwin.read_swap_used_bytes(),
            darwin.read_footprint_bytes(1),
            darwin.read_page_bytes(),
        } == {None}


@pytest.mark.skipif(sys.platform == "darwin", reason="there it answers")
def test_elsewhere_nothing_is_loaded_and_metal_says_nothing(monkeypatch):
    monkeypatch.setattr(darwin, "load_libc", lambda: pytest.fail("loaded"))
    assert (
        darwin.read_memory_bytes()
        is darwin.read_footprint_bytes(os.getpid())
        is None
    )
    done = subprocess.run(
        [sys.executable, "-I", darwin.__file__],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


@pytest.mark.skipif(sys.platform != "darwin", reason="needs a Mac")
def test_a_real_mac_answers():
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert darwin.read_memory_bytes() == pytest.approx(total, rel=0.1)
    assert 0 < darwin.read_available_bytes() < darwin.read_memory_bytes()
    assert (
        darwin.read_swap_used_bytes() >= 0
        and darwin.read_footprint_bytes(os.getpid()) > 10**6
    )
    assert darwin.read_integer("hw.logicalcpu") == os.cpu_count()


METAL = """
#include <stdint.h>
#include <string.h>
void *MTLCreateSystemDefaultDevice(void) { return (void *)%s; }
void *sel_registerName(const char *name) { return (void *)name; }
uint64_t objc_msgSend(void *device, const char *selector) {
    return device && !strcmp(selector, "recommendedMaxWorkingSetSize") ? 115448725504ULL : 7;
}
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a C compiler")
@pytest.mark.parametrize(
    "device, answer", [("0x123456789abcdef0", 115448725504), ("0", None)]
)
def test_metal_is_asked_in_its_own_form(
    tmp_path, monkeypatch, device, answer
):
    (tmp_path / "metal.c").write_text(METAL % device)
    try:
        subprocess.run(
            [
                "cc",
                "-shared",
                "-fPIC",
                "-o",
                tmp_path / "metal.so",
                tmp_path / "metal.c",
            ],
            check=True,
            timeout=60,
        )
    except FileNotFoundError:
        pytest.skip("no C compiler")
    library, asked = ctypes.CDLL(str(tmp_path / "metal.so")), []
    monkeypatch.setattr(
        darwin.ctypes, "CDLL", lambda path: asked.append(path) or library
    )
    assert darwin.ask_metal_working_set_bytes() == answer
    assert [Path(path).name for path in asked] == [
        "CoreGraphics",
        "Metal",
        "libobjc.dylib",
    ]


# -- what becomes of it -----------------------------------------------------------------


def test_memory_is_known_where_psutil_knows_none_of_it(
    kernel, monkeypatch
):
    kernel(statistics=62, strict=True)
    refuse(monkeypatch, "virtual_memory", "swap_memory")
    assert (
        memory.read_memory_bytes() == 32 * GIB
        and memory.read_swap_used_bytes() == GIB
    )
    assert (
        memory.read_memory_used_bytes()
        == 32 * GIB - ((1 << 17) + (1 << 19)) * PAGE
    )


def test_where_the_kernel_refuses_too_only_what_is_used_is_unknown(
    kernel, monkeypatch
):
    kernel(failure=KERN_FAILURE)
    refuse(monkeypatch, "virtual_memory", "swap_memory")
    assert (
        memory.read_memory_bytes(),
        memory.read_memory_used_bytes(),
    ) == (32 * GIB, None)


@pytest.mark.parametrize(
    "told, limit_mb, expected",
    [
        ("115448725504\n", 0, 115448725504),
        ("115448725504\n", 20480, 115448725504),
        ("", 20480, 20 * GIB),
        ("", 0, None),
        ("Traceback", None, None),
    ],
)
def test_the_gpu_may_use_what_metal_says_or_what_was_set(
    kernel, monkeypatch, told, limit_mb, expected
):
    kernel().values["iogpu.wired_limit_mb"] = (
        None if limit_mb is None else struct.pack("=i", limit_mb)
    )
    monkeypatch.setattr(
        machine,
        "output_of",
        lambda *command: told if command[-1] == darwin.__file__ else "",
    )
    assert machine.read_gpu_working_set_bytes() == expected


@pytest.mark.parametrize(
    "level, word",
    [(1, "normal"), (2, "warn"), (4, "critical"), (9, None), (None, None)],
)
def test_memory_pressure(kernel, monkeypatch, level, word):
    kernel().values["kern.memorystatus_vm_pressure_level"] = (
        None if level is None else struct.pack("=i", level)
    )
    monkeypatch.setattr(sys, "platform", "darwin")
    assert system_sample.read_memory_pressure() == word


def test_a_look_at_a_process_has_its_footprint(kernel):
    kernel().footprints[os.getpid()] = 25 * GIB
    member = ServerProcess(psutil.Process(), "runner", "ollama")
    sample = member.sample(10**9, 32 * GIB)
    assert sample.footprint_bytes == 25 * GIB > sample.rss_bytes
    line = live_view.format_process(member)
    assert "26843.5 MB footprint" in line and len(line) <= 80

"""darwin.py - asks macOS' C library for what nothing else tells: memory, footprint, GPU share.

    darwin.read_memory_bytes(), darwin.read_available_bytes(), darwin.read_swap_used_bytes()
    darwin.read_footprint_bytes(pid)     # with the GPU memory that resident memory leaves out
    darwin.read_value("vm.swapusage"), darwin.read_integer("hw.memsize")
    python darwin.py                     # Metal's recommended working set of the GPU, bytes

Nothing here raises: what is not answered is None, on Linux and Windows everything.
"""

from __future__ import annotations

import ctypes
import functools
import struct
import sys
from typing import NamedTuple

# bytes; a later system may have a longer struct than this file knows
ANSWER_ROOM = 512
HOST_VM_INFO64 = 4  # mach/host_info.h
# size of vm_statistics64 since 10.9; the kernel logs too large ones as errors
VM_STATISTICS_INTS = 38
VM_STATISTICS_ROOM = 256
# mach/mig_errors.h; the count then says how much is needed
MIG_ARRAY_TOO_LARGE = -307
# sys/resource.h: the oldest layout, which has the footprint
RUSAGE_INFO_V0 = 0
# where ri_phys_footprint is: behind a UUID and seven counters
FOOTPRINT_OFFSET = 16 + 7 * 8
# how struct xsw_usage begins: total, available, used
SWAP_USAGE = struct.Struct("=QQQ")
FRAMEWORKS = "/System/Library/Frameworks/{0}.framework/{0}"
OBJC = "/usr/lib/libobjc.dylib"
# what ctypes raises where a library or call is missing
FAILURES = (OSError, AttributeError, ValueError, ctypes.ArgumentError)


class Pages(NamedTuple):
    """How vm_statistics64 begins: pages of memory."""

    free: int
    active: int
    inactive: int
    wired: int


def read_memory_bytes() -> int | None:
    """Return the physical memory."""
    return read_integer("hw.memsize") or None


def read_available_bytes() -> int | None:
    """Return the memory of free and inactive pages, as psutil counts what is available."""
    pages, page_bytes = count_pages(), read_page_bytes()
    if pages is None or page_bytes is None:
        return None
    return (pages.free + pages.inactive) * page_bytes


def read_swap_used_bytes() -> int | None:
    answer = read_value("vm.swapusage") or b""
    if len(answer) < SWAP_USAGE.size:
        return None
    _total, _available, used = SWAP_USAGE.unpack_from(answer)
    return int(used)


def read_footprint_bytes(pid: int) -> int | None:
    """Return the memory that the system charges to a process of this user, without mapped files.

    None for a process of another user, and for one that has ended.
    """
    answer, library = ctypes.create_string_buffer(ANSWER_ROOM), find_libc()
    try:
        if library is None or library.proc_pid_rusage(
            pid, RUSAGE_INFO_V0, answer
        ):
            return None
    except FAILURES:
        return None
    (footprint,) = struct.unpack_from("=Q", answer, FOOTPRINT_OFFSET)
    return int(footprint) or None


def read_value(name: str) -> bytes | None:
    """Return sysctl's value of a name, as it lies in memory."""
    answer, size = (
        ctypes.create_string_buffer(ANSWER_ROOM),
        ctypes.c_size_t(ANSWER_ROOM),
    )
    library = find_libc()
    new_size = ctypes.c_size_t(0)  # nothing is changed
    try:
        if library is None or library.sysctlbyname(
            name.encode(), answer, ctypes.byref(size), None, new_size
        ):
            return None
    except FAILURES:
        return None
    return answer.raw[: size.value] if size.value <= ANSWER_ROOM else None


def read_integer(name: str) -> int | None:
    """Return sysctl's value of a name whose value is an integer of 32 or 64 bits."""
    answer = read_value(name) or b""
    if len(answer) not in (4, 8):
        return None
    return int.from_bytes(answer, sys.byteorder, signed=True)


def count_pages() -> Pages | None:
    """Return how many pages of memory are free, active, inactive and wired.

    macOS 27 has more kinds than earlier tools know: a call with room for the old ones fails after
    a few times, and says how much it wants.
    """
    pages = (ctypes.c_uint32 * VM_STATISTICS_ROOM)()
    count = ctypes.c_uint32(VM_STATISTICS_INTS)
    library = find_libc()
    if library is None:
        return None
    asked, result = 0, MIG_ARRAY_TOO_LARGE
    try:
        while (
            result == MIG_ARRAY_TOO_LARGE
            and asked < count.value <= VM_STATISTICS_ROOM
        ):
            asked = count.value
            result = library.host_statistics64(
                find_host(), HOST_VM_INFO64, pages, ctypes.byref(count)
            )
    except FAILURES:
        return None
    if result or count.value < len(Pages._fields):
        return None
    return Pages(*pages[: len(Pages._fields)])


def read_page_bytes() -> int | None:
    """Return the size of the pages of count_pages(); under Rosetta Python's own differ."""
    size, library = ctypes.c_size_t(0), find_libc()
    try:
        if library is None or library.host_page_size(
            find_host(), ctypes.byref(size)
        ):
            return None
    except FAILURES:
        return None
    return size.value or None


def find_libc() -> ctypes.CDLL | None:
    """Return the C library, None where this is not a Mac."""
    return load_libc() if sys.platform == "darwin" else None


@functools.lru_cache(maxsize=1)
def load_libc() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):
        return None


@functools.lru_cache(maxsize=1)
def find_host() -> ctypes.c_uint32:
    """Return the port to ask the kernel; once, for each call would add a reference."""
    library = find_libc()
    if library is None:
        raise OSError("no C library")
    return ctypes.c_uint32(library.mach_host_self())


def ask_metal_working_set_bytes() -> int | None:
    """Return what Metal recommends not to exceed; `sysctl iogpu.wired_limit_mb` changes it.

    This loads frameworks that start threads: it belongs in a process of its own, which may crash.
    """
    try:
        # without CoreGraphics there is no default device
        ctypes.CDLL(FRAMEWORKS.format("CoreGraphics"))
        metal, objc = (
            ctypes.CDLL(FRAMEWORKS.format("Metal")),
            ctypes.CDLL(OBJC),
        )
        metal.MTLCreateSystemDefaultDevice.restype = ctypes.c_void_p
        objc.sel_registerName.argtypes = [ctypes.c_char_p]
        objc.sel_registerName.restype = ctypes.c_void_p
        device = metal.MTLCreateSystemDefaultDevice()
        if not device:
            return None
        name = objc.sel_registerName(b"recommendedMaxWorkingSetSize")
        form = ctypes.CFUNCTYPE(
            ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p
        )
        return form(("objc_msgSend", objc))(device, name) or None
    except FAILURES:
        return None


if __name__ == "__main__":
    print(ask_metal_working_set_bytes() or "")

"""darwin.py - asks macOS' C library for what nothing else tells: memory, footprint, GPU share.

    darwin.memory_bytes(), darwin.available_bytes(), darwin.swap_used_bytes()
    darwin.footprint_bytes(pid)          # with the GPU memory that resident memory leaves out
    darwin.sysctl("vm.swapusage"), darwin.sysctl_integer("hw.memsize")
    python darwin.py                     # Metal's recommended working set of the GPU, bytes

Nothing here raises: what is not answered is None, on Linux and Windows everything.
"""

from __future__ import annotations

import ctypes
import functools
import struct
import sys
from typing import Any

ANSWER_ROOM = 512  # bytes; a struct of a later system may be longer than it is known here
HOST_VM_INFO64 = 4  # mach/host_info.h
VM_STATISTICS_INTS = 38  # of vm_statistics64 since 10.9; the kernel logs too large ones as errors
VM_STATISTICS_ROOM = 256
VM_STATISTICS_HEAD = ("free", "active", "inactive", "wired")  # pages, 32 bits each
MIG_ARRAY_TOO_LARGE = -307  # mach/mig_errors.h; the count then says how much there is
RUSAGE_INFO_V0 = 0  # sys/resource.h: the oldest layout, and the footprint is in it
FOOTPRINT_OFFSET = 16 + 7 * 8  # of ri_phys_footprint, behind a UUID and seven counters
SWAP_USAGE = struct.Struct("=QQQ")  # how struct xsw_usage begins: total, available, used
FAILURES = (OSError, AttributeError, ValueError, ctypes.ArgumentError)  # no such library or call


def memory_bytes() -> int | None:
    """Physical memory."""
    return sysctl_integer("hw.memsize") or None


def available_bytes() -> int | None:
    """Memory of free and inactive pages, as psutil counts what is available."""
    pages, page_bytes = vm_pages(), page_size()
    return (pages["free"] + pages["inactive"]) * page_bytes if pages and page_bytes else None


def swap_used_bytes() -> int | None:
    answer = sysctl("vm.swapusage") or b""
    return SWAP_USAGE.unpack_from(answer)[2] if len(answer) >= SWAP_USAGE.size else None


def footprint_bytes(pid: int) -> int | None:
    """Memory of a process of ours as the system charges it for it; no mapped files.

    None for a process of another user, and for one that has ended.
    """
    answer, system = ctypes.create_string_buffer(ANSWER_ROOM), libc()
    try:
        if system is None or system.proc_pid_rusage(pid, RUSAGE_INFO_V0, answer):
            return None
    except FAILURES:
        return None
    return struct.unpack_from("=Q", answer, FOOTPRINT_OFFSET)[0] or None


def sysctl(name: str) -> bytes | None:
    """The system's value of a name, as it lies in memory."""
    answer, size = ctypes.create_string_buffer(ANSWER_ROOM), ctypes.c_size_t(ANSWER_ROOM)
    system = libc()
    try:
        if system is None or system.sysctlbyname(
            name.encode(), answer, ctypes.byref(size), None, ctypes.c_size_t(0)
        ):
            return None
    except FAILURES:
        return None
    return answer.raw[: size.value] if size.value <= ANSWER_ROOM else None


def sysctl_integer(name: str) -> int | None:
    """The same of a name whose value is an integer of 32 or 64 bits."""
    answer = sysctl(name) or b""
    return int.from_bytes(answer, sys.byteorder, signed=True) if len(answer) in (4, 8) else None


def vm_pages() -> dict[str, int] | None:
    """How many pages of memory are free, active, inactive and wired.

    macOS 27 knows more kinds than the tools of before: a call with room for the old ones fails
    after a few times, and says how much it wants.
    """
    pages, count = (ctypes.c_uint32 * VM_STATISTICS_ROOM)(), ctypes.c_uint32(VM_STATISTICS_INTS)
    system = libc()
    try:
        if system is None:
            return None
        asked, failed = 0, MIG_ARRAY_TOO_LARGE
        while failed == MIG_ARRAY_TOO_LARGE and asked < count.value <= VM_STATISTICS_ROOM:
            asked = count.value
            failed = system.host_statistics64(host(), HOST_VM_INFO64, pages, ctypes.byref(count))
    except FAILURES:
        return None
    if failed or count.value < len(VM_STATISTICS_HEAD):
        return None
    return dict(zip(VM_STATISTICS_HEAD, pages, strict=False))


def page_size() -> int | None:
    """Bytes of the pages that vm_pages() counts; under Rosetta they are not Python's own."""
    size, system = ctypes.c_size_t(0), libc()
    try:
        if system is None or system.host_page_size(host(), ctypes.byref(size)):
            return None
    except FAILURES:
        return None
    return size.value or None


def libc() -> Any:
    """The C library; None where this is no Mac."""
    return loaded() if sys.platform == "darwin" else None


@functools.lru_cache(maxsize=1)
def loaded() -> Any:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):
        return None


@functools.lru_cache(maxsize=1)
def host() -> ctypes.c_uint32:
    """The port by which the kernel is asked, once: each time would count up a reference."""
    return ctypes.c_uint32(libc().mach_host_self())


def metal_working_set_bytes() -> int | None:
    """What Metal recommends not to exceed; `sysctl iogpu.wired_limit_mb` changes it.

    It loads frameworks that start threads: for a process of its own, which may fail as it likes.
    """
    try:
        frameworks = "/System/Library/Frameworks/{0}.framework/{0}"
        ctypes.CDLL(frameworks.format("CoreGraphics"))  # without it there is no default device
        metal, objc = ctypes.CDLL(frameworks.format("Metal")), ctypes.CDLL("/usr/lib/libobjc.dylib")
        metal.MTLCreateSystemDefaultDevice.restype = ctypes.c_void_p
        objc.sel_registerName.argtypes = [ctypes.c_char_p]
        objc.sel_registerName.restype = ctypes.c_void_p
        device = metal.MTLCreateSystemDefaultDevice()
        name = objc.sel_registerName(b"recommendedMaxWorkingSetSize")
        form = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p)
        return form(("objc_msgSend", objc))(device, name) or None if device else None
    except FAILURES:
        return None


if __name__ == "__main__":
    print(metal_working_set_bytes() or "")

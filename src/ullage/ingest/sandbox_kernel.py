"""What a process on Linux can give up for good: its network, other programs, and life after its parent."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import struct

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2

_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.EPERM
_KILL = 0x80000000

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_OFFSET_CALL, _OFFSET_ARCH = 0, 4
_X32 = 0x40000000

_CALLS: dict[str, tuple[int, tuple[int, ...]]] = {
    # audit number of the machine; socket, connect, bind, listen, accept, sendto, execve, ptrace, io_uring_setup,
    # execveat, process_vm_readv, process_vm_writev, kill, tkill, tgkill, bpf, unshare, setns, mount, socketpair
    "x86_64": (0xC000003E, (41, 42, 49, 50, 43, 44, 59, 101, 425, 322, 310, 311, 62, 200, 234, 321, 272, 308, 165, 53)),
    "aarch64": (0xC00000B7,
                (198, 203, 200, 201, 202, 206, 221, 117, 425, 281, 270, 271, 129, 130, 131, 280, 97, 268, 40, 199)),
}


def die_with_parent() -> None:
    """Be killed when the thread that started this process ends, however it ends."""
    parent = os.getppid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(0)


def no_network_or_programs() -> None:
    """Every system call that opens a socket, starts a program or reaches another process fails with EPERM from here on.

    Raises OSError where the kernel or the machine does not know such a filter.
    """
    machine = platform.machine()
    if machine not in _CALLS:
        raise OSError(errno.ENOSYS, f"no list of system calls for {machine}")
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    program = _program(*_CALLS[machine])
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(header, len(header)))


def _program(arch: int, calls: tuple[int, ...]) -> bytes:
    """Classic BPF: another architecture's calls kill, the listed ones are refused, all others pass."""
    lines = [
        (_LOAD, 0, 0, _OFFSET_ARCH),
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _OFFSET_CALL),
        (_AT_LEAST, len(calls) + 1, 0, _X32),
        *((_EQUAL, len(calls) - number, 0, call) for number, call in enumerate(calls)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def _prctl(option: int, *arguments: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    given = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    given += [ctypes.c_ulong(0)] * (4 - len(given))
    if library.prctl(ctypes.c_int(option), *given) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")

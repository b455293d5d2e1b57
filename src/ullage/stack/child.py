"""Become a service that cannot outlive its supervisor: `child.py SUPERVISOR_PID LISTENERS COMMAND...`.

Run as a file by the bare interpreter, so it imports nothing of ours. A supervisor that is killed cannot tell its
children to stop; the kernel does (prctl(2), PR_SET_PDEATHSIG), and the request survives execve(2).

LISTENERS is `-`, or `FD=NAME` between commas: listening sockets that the service takes over, handed on as systemd does
(sd_listen_fds(3)).
"""

import ctypes
import fcntl
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
FIRST = 3
"""Of the descriptors that are handed on."""


def main(supervisor: int, listeners: str, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:  # it died before we asked
        sys.exit(1)
    # A shell ignores SIGINT in background jobs, and what is ignored stays ignored over execve.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):  # those of the supervisor are its own
        os.environ.pop(name, None)
    if listeners != "-":
        hand_on([pair.split("=") for pair in listeners.split(",")])
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


def hand_on(pairs: list[list[str]]) -> None:
    """Move the descriptors to where a service looks for them, and say so in the environment."""
    out_of_the_way = [fcntl.fcntl(int(number), fcntl.F_DUPFD, FIRST + len(pairs)) for number, _ in pairs]
    for number, _ in pairs:
        os.close(int(number))
    for place, opened in enumerate(out_of_the_way, FIRST):
        os.dup2(opened, place)
        os.close(opened)
    os.environ |= {"LISTEN_FDS": str(len(pairs)), "LISTEN_PID": str(os.getpid()),
                   "LISTEN_FDNAMES": ":".join(name for _, name in pairs)}


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])

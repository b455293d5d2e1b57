"""Become a service that cannot outlive its supervisor: `child.py SUPERVISOR_PID COMMAND...`.

Run as a file by the bare interpreter, so it imports nothing of ours. A supervisor that is killed cannot tell its
children to stop; the kernel does (prctl(2), PR_SET_PDEATHSIG), and the request survives execve(2).
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(supervisor: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:  # it died before we asked
        sys.exit(1)
    # A shell ignores SIGINT in background jobs, and what is ignored stays ignored over execve.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])

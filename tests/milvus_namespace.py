"""`python milvus_namespace.py SERVER FOLDER COMMAND...`: run a command beside a Milvus server that nobody else reaches.

Run it as the first process of network and process namespaces of its own: the server listens on every address, and here
there is only the loopback one; and with this process all of the server ends.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

SET_FLAGS, UP_AND_LOOPBACK = 0x8914, 0x1 | 0x8
PORT = 19530
START_S = 90


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        fcntl.ioctl(plain, SET_FLAGS, struct.pack("16sH14x", b"lo", UP_AND_LOOPBACK))


def wait_for(process: subprocess.Popen[bytes]) -> None:
    """Until the server has told its version."""
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    deadline = time.monotonic() + START_S
    while True:
        try:
            client = MilvusClient(f"http://127.0.0.1:{PORT}", timeout=5)
            print("server", client.get_server_version(), flush=True)
            client.close()
        except MilvusException:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def main() -> int:
    server, folder, *command = sys.argv[1:]
    raise_loopback()
    Path(folder).mkdir(parents=True, exist_ok=True)
    with (Path(folder) / "server.log").open("wb") as log:
        process = subprocess.Popen([server, "--data", folder], stdout=log, stderr=log)
    try:
        wait_for(process)
        return subprocess.run(command, check=False).returncode
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    sys.exit(main())

"""A reader's process: one file after the other from standard input to standard output, inside its limits.

`python -m ullage.ingest.sandbox_child MEMORY_BYTES`. Each line of input is a JSON object: `path`, `name`,
`limit_bytes`, `look`, `thumbnail_pixels`, and for one page as it looks `render` (its number and pixels), else null.
It can read files and write to its output; it has no network, writes no file, starts no program, and takes no more
memory than it was given.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import IO, Any

from ullage.errors import DocumentRefused, NotFound
from ullage.ingest.readers import pages_of, rendered
from ullage.ingest.readers.source import Source, Wish
from ullage.ingest.sandbox_kernel import die_with_parent, no_network_or_programs
from ullage.ingest.sandbox_wire import Frame, frame_of_page, frame_of_rendering, write

MOST_OPEN_FILES = 64
RECURSION = 1000


def main() -> None:
    memory_bytes = int(sys.argv[1])
    # What libraries print must not stand between the frames.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    confine(memory_bytes)
    for line in sys.stdin.buffer:
        _serve(json.loads(line), out)


def confine(memory_bytes: int) -> None:
    """Give up what a reader never needs. Raises OSError where the kernel cannot take it away."""
    die_with_parent()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_OPEN_FILES, MOST_OPEN_FILES))
    sys.setrecursionlimit(RECURSION)
    no_network_or_programs()


def _serve(job: dict[str, Any], out: IO[bytes]) -> None:
    name = str(job["name"])
    wish = Wish(look=bool(job["look"]), thumbnail_pixels=int(job["thumbnail_pixels"]))
    source = Source(name, Path(job["path"]), wish=wish)
    forget_peak()
    try:
        if job["render"]:
            write(out, frame_of_rendering(rendered(source, *job["render"])))
        else:
            for page in pages_of(source, limit_bytes=job["limit_bytes"]):
                write(out, frame_of_page(page, source.total))
        write(out, Frame({"kind": "end", "warnings": source.warnings, "peak_bytes": peak_bytes()}))
    except DocumentRefused as refusal:
        write(out, Frame({"kind": "refused", "message": refusal.message, "peak_bytes": peak_bytes()}))
    except NotFound as missing:
        write(out, Frame({"kind": "missing", "message": missing.message, "peak_bytes": peak_bytes()}))
    except MemoryError:
        # What is left of the heap may be in any state: say so and make room for a fresh process.
        write(out, Frame({"kind": "memory"}))
        os._exit(0)
    except RecursionError:
        message = f"{name}: nests its parts too deep to be read; flatten it"
        write(out, Frame({"kind": "refused", "message": message, "peak_bytes": peak_bytes()}))
    except BrokenPipeError:
        os._exit(0)
    except Exception as error:
        # A reader met what no reader thought of. The file is not at fault for sure, but it cannot be read.
        message = f"{name}: cannot be read ({type(error).__name__} in its reader); convert it to another format"
        sys.stderr.write(f"{message}: {error!r}"[:2000] + "\n")
        write(out, Frame({"kind": "refused", "message": message, "peak_bytes": peak_bytes()}))


def peak_bytes() -> int:
    """The largest resident set of this process since `forget_peak`. (getrusage counts the parent's before exec.)"""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def forget_peak() -> None:
    with Path("/proc/self/clear_refs").open("w") as refs:
        refs.write("5")


if __name__ == "__main__":
    main()

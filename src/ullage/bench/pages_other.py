"""Read files with another tool and tell what it made of them. Runs in that tool's own environment, without ullage.

`python -I pages_other.py TOOL FILE...` writes one JSON object: `tool` with its version, Markdown `texts` by file name,
`seconds` of the reading alone, `peak_bytes` of the process. A file that fails has an empty text.
"""

from __future__ import annotations

import importlib.metadata
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Read = Callable[[str], str]


def markitdown() -> Read:
    from markitdown import MarkItDown  # type: ignore[import-not-found]  # only there in its own environment

    tool = MarkItDown()
    return lambda path: str(tool.convert(path).text_content)


def docling() -> Read:
    from docling.document_converter import DocumentConverter  # type: ignore[import-not-found]  # likewise

    tool = DocumentConverter()
    return lambda path: str(tool.convert(path).document.export_to_markdown())


TOOLS: dict[str, Callable[[], Read]] = {"markitdown": markitdown, "docling": docling}


def main() -> None:
    name, *files = sys.argv[1:]
    read = TOOLS[name]()
    texts, faults = {}, {}
    begun = time.perf_counter()
    for path in files:
        try:
            texts[Path(path).name] = read(path)
        except Exception as error:
            texts[Path(path).name] = ""
            faults[Path(path).name] = f"{type(error).__name__}: {error}"[:300]
    said: dict[str, Any] = {
        "tool": f"{name} {importlib.metadata.version(name)}",
        "texts": texts,
        "faults": faults,
        "seconds": time.perf_counter() - begun,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()

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
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
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


def docling_without_networks() -> Read:
    """All of docling's way for a PDF but its networks, whose weights are in no package: no layout, tables or OCR.

    Its pages a second are more than docling reaches with them; what it reads then says nothing about docling.
    """
    from docling.datamodel.base_models import InputFormat, LayoutPrediction  # type: ignore[import-not-found]
    from docling.datamodel.pipeline_options import PdfPipelineOptions  # type: ignore[import-not-found]
    from docling.document_converter import DocumentConverter, PdfFormatOption
    from docling.models.base_layout_model import BaseLayoutModel  # type: ignore[import-not-found]
    from docling.pipeline import standard_pdf_pipeline  # type: ignore[import-not-found]

    class NoLayout(BaseLayoutModel):  # type: ignore[misc]
        def __init__(self) -> None:
            """There is nothing to load."""

        @classmethod
        def get_options_type(cls) -> type[Any]:
            return object

        def predict_layout(self, _: Any, pages: Any) -> list[Any]:
            return [LayoutPrediction() for _ in pages]

    # Loading the engines that it has would want packages that fit its networks.
    for part, made in (("layout", NoLayout), ("table_structure", lambda: lambda _, pages: pages)):
        factory = SimpleNamespace(create_instance=lambda made=made, **_: made())
        setattr(standard_pdf_pipeline, f"get_{part}_factory", lambda factory=factory, **_: factory)
    options = PdfPipelineOptions(do_ocr=False, do_table_structure=False)
    tool = DocumentConverter(format_options={InputFormat.PDF: PdfFormatOption(pipeline_options=options)})
    return lambda path: str(tool.convert(path).document.export_to_markdown())


TOOLS: dict[str, Callable[[], Read]] = {
    "markitdown": markitdown, "docling": docling, "docling-without-networks": docling_without_networks,
}


def main() -> None:
    name, *files = sys.argv[1:]
    read = TOOLS[name]()
    texts, faults = {}, {}
    with suppress(Exception):  # the first file pays for what is loaded late; its fault is told below
        read(files[0])
    begun = time.perf_counter()
    for path in files:
        try:
            texts[Path(path).name] = read(path)
        except Exception as error:
            texts[Path(path).name] = ""
            faults[Path(path).name] = f"{type(error).__name__}: {error}"[:300]
    said: dict[str, Any] = {
        "tool": f"{name} {importlib.metadata.version(name.partition('-')[0])}",
        "texts": texts,
        "faults": faults,
        "seconds": time.perf_counter() - begun,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()

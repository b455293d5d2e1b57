"""`ullage bench pages`: how well and how fast pages are read, beside other tools."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ullage.cli.output import JSON_HELP, out, print_json, table
from ullage.errors import InvalidRequest

if TYPE_CHECKING:
    from ullage.bench.pages import PageScores


def pages(
    data: Annotated[Path, typer.Option(help="folder made by samples/make_pages.py")],
    against: Annotated[list[str] | None, typer.Option(
        help="TOOL=PYTHON: markitdown, docling or docling-without-networks, and its own Python")] = None,
    vision: Annotated[str, typer.Option(help="URL of a running vision service, to read the scans")] = "",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Table cells, reading order, pages a second and peak memory, on pages whose truth is known."""
    from ullage.bench.pages import measure
    from ullage.bench.pages_other import TOOLS

    others: dict[str, Path] = {}
    for pair in against or []:
        tool, _, python = pair.partition("=")
        if tool not in TOOLS or not python:
            raise InvalidRequest(f"--against={pair}: say TOOL=PYTHON with one of {', '.join(TOOLS)}")
        others[tool] = Path(python)
    found = measure(data, others, vision)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    columns = ("cell F1 ruled", "unruled", "order errors", "pages/s", "peak MiB")
    shown = table("tool", *columns, right=columns, title=f"{found[0].pages} pages with a text layer")
    for one in found:
        shown.add_row(one.tool, f"{one.ruled_f1:.3f}", f"{one.unruled_f1:.3f}",
                      f"{one.order_errors} of {one.paragraphs}", f"{one.pages_per_second:.1f}", f"{one.peak_mib:.0f}")
    out().print(shown)
    for one in found:
        for line in _scans(one):
            out().print(line, markup=False)


def _scans(one: PageScores) -> list[str]:
    rates = [f"{one.tool}: {dpi} dpi: character error rate {rate:.2%}" for dpi, rate in sorted(one.cer.items())]
    speed = [f"{one.tool}: {one.scan_pages_per_second:.2f} scanned pages/s"] if one.cer else []
    return [*rates, *speed, *(f"{name}: {fault}" for name, fault in one.faults.items())]

"""The labels of each task, as the contract has them."""

from __future__ import annotations

from ullage.engines.vision import chart, elements, table
from ullage.settings import VisionTask


def labels_of(task: VisionTask, version: elements.Version) -> tuple[str, ...]:
    if task == "page-elements":
        return elements.LABELS[version]
    return {"graphic-elements": chart.LABELS, "table-structure": table.LABELS, "ocr": ()}[task]

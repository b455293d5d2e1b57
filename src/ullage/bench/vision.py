"""What page vision is worth: letters, cells, chart labels and page parts on pictures of known truth; seconds, memory.

    python -m ullage.bench.vision [ocr|table|chart|page ...]

needs matplotlib, whose fonts and charts it draws with. The engine runs in this process, in the arena of the plan.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from ullage.bench.vision_charts import chart
from ullage.bench.vision_mixed import mixed_page
from ullage.bench.vision_pages import TablePicture, png, scanned, table, text_page
from ullage.engines.vision.engine import Asked, VisionEngine
from ullage.engines.vision.shapes import Box, Line, Region
from ullage.http.memory import kept_peak_bytes
from ullage.serve.vision.lifecycle import open_vision
from ullage.settings import load
from ullage.stack.place import place_one

FIRST = 1000
"""Seeds from here on were not looked at while the rules were written."""

OVERLAP = 0.5


def letters_wrong(truth: str, said: str) -> float:
    """Character error rate: edits over letters, blanks left out."""
    wanted, read = "".join(truth.split()), np.frombuffer("".join(said.split()).encode("utf-32-le"), np.uint32)
    row = np.arange(len(read) + 1)
    for number, letter in enumerate(wanted, 1):
        best = np.minimum(row[:-1] + (read != ord(letter)), row[1:] + 1)
        run = np.concatenate([[number], best - np.arange(1, len(read) + 1)])
        row = np.minimum.accumulate(run) + np.arange(len(read) + 1)
    return float(row[-1] / max(1, len(wanted)))


def cell_f1(drawn: TablePicture, regions: Sequence[Region], lines: Sequence[Line]) -> float:
    """Cells whose text and place in the grid are right, over those drawn and those found."""
    truth = {(i, k, "".join(text.split())) for i, row in enumerate(drawn.cells) for k, text in enumerate(row) if text}
    rows = sorted((r.box.y0, r.box.y1) for r in regions if r.label == "row")
    columns = sorted((r.box.x0, r.box.x1) for r in regions if r.label == "column")
    grid: dict[tuple[int, int], str] = {}
    for line in sorted(lines, key=lambda one: (one.box.centre[1] // 8, one.box.x0)):
        x, y = line.box.centre
        if rows and columns:
            place = _nearest(rows, y), _nearest(columns, x)
            grid[place] = grid.get(place, "") + "".join(line.text.split())
    found = {(row, column, text) for (row, column), text in grid.items()}
    return 2 * len(truth & found) / max(1, len(truth) + len(found))


def _nearest(bands: Sequence[tuple[float, float]], place: float) -> int:
    return min(range(len(bands)), key=lambda k: max(bands[k][0] - place, place - bands[k][1], 0.0))


def ocr(engine: VisionEngine, count: int = 2) -> None:
    for dpi in (150, 300):
        for kind in ("clean", "scanned"):
            wrong, seconds = [], 0.0
            for seed in range(FIRST, FIRST + count):
                page = text_page(seed, dpi=dpi, columns=1 + seed % 2)
                image = page.image if kind == "clean" else scanned(page.image, seed)
                begun = time.perf_counter()
                found = engine.run(Asked("ocr", png(image), level="sentence"))
                seconds += time.perf_counter() - begun
                wrong.append(letters_wrong(" ".join(page.lines), " ".join(line.text for line in found.lines)))
            print(f"ocr {dpi} dpi {kind}: CER {np.mean(wrong):.4f} (worst {max(wrong):.4f}), "
                  f"{seconds / count:.2f} s/page", flush=True)


def tables(engine: VisionEngine, count: int = 10) -> None:
    for kind in ("ruled", "unruled"):
        for state in ("clean", "noisy"):
            scores, seconds = [], 0.0
            for seed in range(FIRST, FIRST + count):
                drawn = table(seed, ruled=kind == "ruled")
                data = png(drawn.image if state == "clean" else scanned(drawn.image, seed, degrees=0.0))
                begun = time.perf_counter()
                regions = engine.run(Asked("table-structure", data)).regions
                seconds += time.perf_counter() - begun
                lines = engine.run(Asked("ocr", data, level="sentence")).lines
                scores.append(cell_f1(drawn, regions, lines))
            print(f"table {kind} {state}: cell F1 {np.mean(scores):.3f} (worst {min(scores):.2f}), "
                  f"{seconds / count:.2f} s/table", flush=True)


def charts(engine: VisionEngine, count: int = 30) -> None:
    wanted: Counter[str] = Counter()
    right: Counter[str] = Counter()
    seconds = 0.0
    for seed in range(FIRST, FIRST + count):
        drawn = chart(seed)
        begun = time.perf_counter()
        regions = engine.run(Asked("graphic-elements", png(drawn.image))).regions
        seconds += time.perf_counter() - begun
        for label, _, box in drawn.texts:
            near = max(regions, key=lambda region: region.box.iou(box), default=None)
            wanted[label] += 1
            right[label] += near is not None and near.label == label and near.box.iou(box) >= 0.2
    each = ", ".join(f"{label} {right[label]}/{total}" for label, total in wanted.items())
    print(f"chart: {sum(right.values()) / sum(wanted.values()):.3f} of texts named right ({each}), "
          f"{seconds / count:.2f} s/chart", flush=True)


def pages(engine: VisionEngine, count: int = 8) -> None:
    for state in ("clean", "scanned"):
        wanted: Counter[str] = Counter()
        right: Counter[str] = Counter()
        more: Counter[str] = Counter()
        seconds = 0.0
        for seed in range(FIRST, FIRST + count):
            drawn = mixed_page(seed)
            data = png(drawn.image if state == "clean" else scanned(drawn.image, seed, degrees=0.5))
            begun = time.perf_counter()
            regions = engine.run(Asked("page-elements", data)).regions
            seconds += time.perf_counter() - begun
            _match(drawn.regions, regions, wanted, right, more)
        each = ", ".join(f"{label} {right[label]}/{total} (+{more[label]})" for label, total in wanted.items())
        print(f"page {state}: found (and too many) at overlap {OVERLAP}: {each}, {seconds / count:.2f} s/page",
              flush=True)


def _match(
    truth: Sequence[Region], found: Sequence[Region], wanted: Counter[str], right: Counter[str], more: Counter[str]
) -> None:
    left = list(found)
    for region in truth:
        wanted[region.label] += 1
        same = [one for one in left if one.label == region.label and _overlap(one.box, region.box)]
        if same:
            right[region.label] += 1
            left.remove(same[0])
    more.update(one.label for one in left)


def _overlap(one: Box, other: Box) -> bool:
    return one.iou(other) >= OVERLAP


PARTS: dict[str, Callable[[VisionEngine], None]] = {"ocr": ocr, "table": tables, "chart": charts, "page": pages}


def main(chosen: Sequence[str]) -> None:
    settings = load({}).settings
    planned = place_one(settings, "vision")["vision"]
    engine = open_vision(settings, planned)
    engine.load()
    for name in chosen or PARTS:
        PARTS[name](engine)
    print(f"profile {planned.profile_id}: planned {planned.ledger.total >> 20} MiB, peak of this process "
          f"{kept_peak_bytes() >> 20} MiB, out of memory {engine.ooms} times")
    engine.close()


if __name__ == "__main__":
    main(sys.argv[1:])

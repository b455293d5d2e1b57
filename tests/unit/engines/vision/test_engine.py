"""The packaged models, on small pictures of known truth."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pictures import CELLS, LINES, chart, page, pixels, saved, table
from ullage.engines.vision.clean import cleaned
from ullage.engines.vision.engine import Asked, VisionEngine
from ullage.errors import EngineFailed, ModelCorrupt, OutOfMemory, TooLarge


def test_text_is_read_word_for_word(engine):
    found = engine.run(Asked("ocr", saved(page()), level="sentence"))
    assert [line.text for line in found.lines] == list(LINES)
    assert all(line.score > 0.9 for line in found.lines)


def test_words_have_places_of_their_own(engine):
    found = engine.run(Asked("ocr", saved(page()), level="word"))
    assert [line.text for line in found.lines] == " ".join(LINES).split()
    first, second = found.lines[0].box, found.lines[1].box
    assert first.x0 < first.x1 <= second.x0 + 3 < second.x1


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_page_on_its_side_or_head_is_turned(engine, quarters):
    turned = page().rotate(90 * quarters, expand=True)
    found = engine.run(Asked("ocr", saved(turned), level="sentence"))
    assert [line.text for line in found.lines if line.text in LINES], [line.text for line in found.lines]
    assert {line.text for line in found.lines} == {*LINES}
    assert all(value >= 0 for line in found.lines for value in line.points.ravel())


def test_a_line_reads_the_same_beside_others(engine):
    alone = engine.run(Asked("ocr", saved(page().crop((0, 0, 520, 80))), level="sentence")).lines
    assert alone[0].text == LINES[0]


@pytest.mark.parametrize("ruled", [True, False])
def test_a_table_has_its_rows_and_columns(engine, ruled):
    found = engine.run(Asked("table-structure", saved(table(ruled=ruled)))).regions
    assert sum(region.label == "row" for region in found) == len(CELLS)
    assert sum(region.label == "column" for region in found) == len(CELLS[0])


def test_a_chart_has_its_labels(engine):
    found = engine.run(Asked("graphic-elements", saved(chart()))).regions
    labels = [region.label for region in found]
    assert labels.count("xlabel") == 4
    assert labels.count("ylabel") == 4
    assert labels.count("chart_title") == labels.count("x_title") == 1


def test_a_page_has_its_parts_and_v2_has_no_others(engine):
    sheet = Image.new("RGB", (900, 1200), "white")
    sheet.paste(page(), (40, 60))
    sheet.paste(table(), (60, 520))
    found = engine.run(Asked("page-elements", saved(sheet)))
    [box] = [region.box for region in found.regions if region.label == "table"]
    assert box.x0 > 40
    assert box.y0 > 480
    assert any(region.label in ("paragraph", "title") for region in found.regions)
    older = engine.run(Asked("page-elements", saved(sheet), version="v2"))
    assert {region.label for region in older.regions} <= {"table", "chart", "title", "infographic"}


def test_a_blank_page_has_nothing(engine):
    blank = saved(Image.new("RGB", (300, 200), "white"))
    for task in engine.tasks:
        found = engine.run(Asked(task, blank))
        assert not found.regions
        assert not found.lines


def test_a_large_picture_is_refused_and_the_engine_goes_on(engine):
    with pytest.raises(TooLarge, match="vision_max_pixels"):
        engine.run(Asked("ocr", saved(Image.new("L", (2000, 1001)))))
    assert engine.run(Asked("ocr", saved(page()))).lines


def test_grain_is_removed_and_a_drawn_page_left_alone():
    drawn = pixels(page())
    assert cleaned(drawn) is drawn
    noisy = np.clip(drawn + np.random.default_rng(0).normal(0, 18, drawn.shape[:2])[..., None], 0, 255).astype(np.uint8)
    assert (cleaned(noisy) == 255).mean() > (noisy == 255).mean() + 0.2


def test_too_small_an_arena_is_told_at_load(paths):
    small = VisionEngine(paths, ("page-elements",), threads=1, detector_pixels=500_000, max_pixels=10**6,
                         arena_bytes=40 << 20)
    with pytest.raises(OutOfMemory, match="does not fit in the arena of 40 MiB"):
        small.load()
    with pytest.raises(EngineFailed, match="not loaded"):
        small.run(Asked("page-elements", saved(page())))


def test_only_what_a_task_needs_is_loaded(paths):
    others = {role: path for role, path in paths.items() if role in ("detection", "recognition")}
    alone = VisionEngine(others, ("ocr",), threads=1, detector_pixels=200_000, max_pixels=10**6)
    alone.load()
    assert alone.run(Asked("ocr", saved(page().crop((0, 0, 520, 80))))).lines[0].text == LINES[0]
    alone.close()


def test_another_model_in_place_of_ours_is_corrupt(paths):
    swapped = {**paths, "recognition": paths["detection"]}
    with pytest.raises(ModelCorrupt, match="no alphabet"):
        VisionEngine(swapped, ("ocr",), threads=1, detector_pixels=200_000, max_pixels=10**6).load()

"""Texts of a chart by where they stand, without any model."""

from __future__ import annotations

import numpy as np
import pytest

from pictures import chart, pixels
from ullage.engines.vision.chart import LABELS, VALUE, graphic_elements
from ullage.engines.vision.shapes import Box, Line


def text(said: str, x: float, y: float, width: float, height: float = 24) -> Line:
    return Line(Box(x, y, x + width, y + height).points, said, 0.9)


TEXTS = [text("Passengers 2024", 218, 10, 200, 32), text("Month", 318, 400, 60), text("Ferries", 14, 150, 24, 110),
         *(text(month, 136 + 120 * n, 366, 40) for n, month in enumerate(("Jan", "Feb", "Mar", "Apr"))),
         *(text(str(100 * n + 100), 38, 348 - 90 * n, 40) for n in range(4)), text("412", 500, 110, 36)]


def test_texts_are_named_by_their_place():
    found = graphic_elements(pixels(chart()), TEXTS)
    assert [region.label for region in found] == [
        "chart_title", "x_title", "y_title", *["xlabel"] * 4, *["ylabel"] * 4, "value_label"]
    assert {region.label for region in found} <= {*LABELS}


def test_patches_of_colour_make_a_legend():
    picture = pixels(chart())
    picture[72:88, 440:470] = (30, 120, 250)
    picture[102:118, 440:470] = (40, 200, 40)
    named = [*TEXTS, text("Cars", 480, 68, 50), text("Trucks", 480, 98, 70), text("Kind", 470, 40, 50)]
    labels = [region.label for region in graphic_elements(picture, named)][-3:]
    assert labels == ["legend_label", "legend_label", "legend_title"]


def test_nothing_is_found_in_nothing():
    assert graphic_elements(np.full((50, 50, 3), 255, np.uint8), []) == []


@pytest.mark.parametrize("said", ["12", "1,200.50", "45%", "-3.5 %", "€ 12", "12 MWh", "1e-4", "3.2k"])
def test_a_number_with_its_unit_is_a_value(said):
    assert VALUE.match(said)


@pytest.mark.parametrize("said", ["Bergen", "Q1", "2024 total", "pier 4"])
def test_words_are_none(said):
    assert not VALUE.match(said)

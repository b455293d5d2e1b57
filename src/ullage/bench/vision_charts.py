"""Charts of known truth: matplotlib (a package of `dev`) draws them and says where each of its texts stands."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from ullage.engines.vision.image import Pixels
from ullage.engines.vision.shapes import Box

KINDS = ("bar", "grouped", "barh", "line", "scatter", "pie")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug")
PORTS = ("Bergen", "Oslo", "Turku", "Kiel", "Riga", "Gdansk", "Rostock")


@dataclass(frozen=True, slots=True)
class Chart:
    """`texts` are (label, words, place) of everything written."""

    image: Pixels
    texts: tuple[tuple[str, str, Box], ...]
    kind: str


def chart(seed: int, *, dpi: int = 120) -> Chart:
    """A chart whose kind goes round with the seed; titles, legends, grids and value labels come and go."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chance = random.Random(seed)  # noqa: S311 - a chart, not a secret
    kind = KINDS[seed % len(KINDS)]
    figure = Figure(figsize=(chance.uniform(5, 7), chance.uniform(3.4, 4.8)), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    said: list[tuple[str, Any]] = []
    axes.set_title(chance.choice(("Ferry traffic 2024", "Revenue by port", "Passengers per month")),
                   fontsize=chance.choice((12, 14)))
    said.append(("chart_title", axes.title))
    _draw(kind, axes, chance, said)
    figure.canvas.draw()
    if kind != "pie":
        _name_axes(axes, chance, said, figure)
    figure.canvas.draw()
    image = np.asarray(figure.canvas.buffer_rgba())[:, :, :3]  # type: ignore[attr-defined]
    texts = tuple((label, text.get_text(), _place(text, image.shape[0])) for label, text in said if text.get_text())
    return Chart(np.ascontiguousarray(image[:, :, ::-1]), texts, kind)


def _draw(kind: str, axes: Any, chance: random.Random, said: list[tuple[str, Any]]) -> None:
    count = chance.randint(4, 7)
    names = MONTHS[:count] if kind != "barh" else PORTS[:count]
    values = [chance.randint(20, 950) for _ in names]
    series = chance.sample(("Cars", "Trucks", "Walk-on", "Freight"), 2)
    if kind in ("bar", "barh"):
        bars = axes.bar(names, values) if kind == "bar" else axes.barh(names, values)
        if chance.random() < 0.5:
            said += [("value_label", text) for text in axes.bar_label(bars)]
    elif kind == "grouped":
        places = np.arange(count)
        axes.bar(places - 0.2, values, 0.4, label=series[0])
        axes.bar(places + 0.2, [value * chance.uniform(0.4, 1.0) for value in values], 0.4, label=series[1])
        axes.set_xticks(places, names)
    elif kind == "line":
        axes.plot(names, values, marker="o", label=series[0])
        axes.plot(names, [value * chance.uniform(0.4, 1.0) for value in values], label=series[1])
    elif kind == "scatter":
        for name in series:
            along, up = zip(*((chance.uniform(0, 100), chance.uniform(0, 50)) for _ in range(20)), strict=True)
            axes.scatter(along, up, label=name)
    else:
        _, around, inside = axes.pie(values[:5], labels=PORTS[:5][: len(values[:5])], autopct="%1.0f%%")
        said += [("mark_label", text) for text in around] + [("value_label", text) for text in inside]
    if kind in ("grouped", "line", "scatter"):
        titled = chance.random() < 0.5
        legend = axes.legend(title="Kind" if titled else None, loc=chance.choice(("best", "upper left", "upper right")))
        said += [("legend_label", text) for text in legend.get_texts()]
        said += [("legend_title", legend.get_title())] if titled else []
    if kind != "pie" and chance.random() < 0.4:
        axes.grid(True, alpha=0.4)


def _name_axes(axes: Any, chance: random.Random, said: list[tuple[str, Any]], figure: Any) -> None:
    if chance.random() < 0.8:
        axes.set_xlabel(chance.choice(("Month", "Port of departure", "Distance (km)")))
        said.append(("x_title", axes.xaxis.label))
    if chance.random() < 0.8:
        axes.set_ylabel(chance.choice(("Thousand EUR", "Vehicles", "Passengers")))
        said.append(("y_title", axes.yaxis.label))
    if chance.random() < 0.3:
        axes.tick_params(axis="x", rotation=45)
    figure.canvas.draw()
    low, high = sorted(axes.get_xlim())
    said += [("xlabel", tick) for tick, at in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)
             if low - 1e-9 <= at <= high + 1e-9]
    low, high = sorted(axes.get_ylim())
    said += [("ylabel", tick) for tick, at in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
             if low - 1e-9 <= at <= high + 1e-9]


def _place(text: Any, height: int) -> Box:
    box = text.get_window_extent()
    return Box(float(box.x0), float(height - box.y1), float(box.x1), float(height - box.y0))

"""The vision service with all its ports, and pictures to send."""

from __future__ import annotations

import base64
import io
import os
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from servers import free_port, serving

import pictures

CELLS = (*pictures.CELLS, ("Turku", "24.75", "12.40"))
TASKS = ("page-elements", "graphic-elements", "table-structure", "ocr")


@dataclass
class Endpoint:
    """`http` is a base URL, `grpc` host:port."""

    http: str
    grpc: str


@contextmanager
def vision_serving(folder):
    """task -> Endpoint of one process that serves all."""
    names = {task: "VISION" if task == "page-elements" else task.replace("-", "_").upper() for task in TASKS}
    ports = {task: (free_port(), free_port()) for task in TASKS}
    own = {}
    for task, name in names.items():
        own[f"{name}_GRPC_PORT"] = str(ports[task][1])
        if task != "page-elements":
            own[f"{name}_PORT"] = str(ports[task][0])
    if "ULLAGE_CACHE_DIR" in os.environ:
        own["CACHE_DIR"] = os.environ["ULLAGE_CACHE_DIR"]
    with serving("vision", folder, **own) as server:
        found = {task: Endpoint(f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}")
                 for task, (http, grpc) in ports.items()}
        # `serving` gives the first task its ports: the port by flag, the other under the service's name.
        found["page-elements"] = Endpoint(server.url, f"127.0.0.1:{ports['page-elements'][1]}")
        yield found


def page():
    """A title, three lines and a ruled table, as an array of RGB."""
    picture = Image.new("RGB", (900, 1100), "white")
    pencil = ImageDraw.Draw(picture)
    pencil.text((80, 60), "Ferry timetable and fares", fill="black", font_size=40)
    for number, line in enumerate(("The northern pier opens at six and closes at midnight.",
                                   "Tickets are sold in the hall until the last departure.",
                                   "Bicycles travel free of charge from May to September.")):
        pencil.text((80, 160 + 36 * number), line, fill="black", font_size=24)
    pictures.draw_table(pencil, CELLS, 80, 340)
    return np.asarray(picture)


def table():
    return np.asarray(pictures.table(CELLS))


def chart():
    return np.asarray(pictures.chart())


def base64_png(picture):
    kept = io.BytesIO()
    Image.fromarray(picture).save(kept, "PNG")
    return base64.b64encode(kept.getvalue()).decode()

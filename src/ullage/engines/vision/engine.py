"""All that looks at pages, in one arena: what is asked for decides which models are loaded."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import structlog

from ullage.engines.onnx_cpu import trim_memory
from ullage.engines.vision.chart import graphic_elements
from ullage.engines.vision.clean import cleaned
from ullage.engines.vision.detect import Detector
from ullage.engines.vision.elements import LEAST, Version, page_elements
from ullage.engines.vision.image import Pixels, decode
from ullage.engines.vision.layout import Layout
from ullage.engines.vision.lines import Level, merged
from ullage.engines.vision.ocr import Ocr
from ullage.engines.vision.read import Recogniser
from ullage.engines.vision.session import Float32, Session, close_sessions, open_sessions
from ullage.engines.vision.shapes import Line, Region
from ullage.engines.vision.table import table_structure
from ullage.engines.vision.table_model import TableModel
from ullage.errors import EngineFailed, OutOfMemory, UllageError
from ullage.models.card import FileRole
from ullage.models.vision import needed_roles
from ullage.settings import VisionTask

log = structlog.get_logger("ullage.vision")

COARSE_PIXELS = 736 * 544
"""Input of the detector where only the place of text matters."""

SHARES = (1.0, 0.6, 0.36)
"""Of the detector's pixels, after each time that there was no room: small print is lost before a picture is."""

LINE_WIDTH = 1600
"""Pixels of a line of text that is read in one run: a line of 100 letters."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One picture, as the bytes of its file. `level` is for ocr, `version` for page-elements."""

    task: VisionTask
    data: bytes
    level: Level = "paragraph"
    version: Version = "v3"


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in a picture of `width` x `height` pixels: regions, or lines of text for ocr."""

    width: int
    height: int
    regions: tuple[Region, ...] = ()
    lines: tuple[Line, ...] = ()


class VisionEngine:
    """One picture at a time; calls come from one thread at a time.

    `paths` are the verified files by role; `detector_pixels` is the largest input of the text detector and `max_pixels`
    the largest picture. `arena_bytes` bounds the activations of all models together, None does not.
    """

    def __init__(
        self,
        paths: Mapping[FileRole, Path],
        tasks: Sequence[VisionTask],
        *,
        threads: int,
        detector_pixels: int,
        max_pixels: int,
        arena_bytes: int | None = None,
    ) -> None:
        self._paths: dict[str, Path] = {role: paths[role] for role in sorted(needed_roles(tasks))}
        self.tasks = tuple(tasks)
        self._threads = threads
        self._detector_pixels = detector_pixels
        self._max_pixels = max_pixels
        self._arena_bytes = arena_bytes
        self._sessions: dict[str, Session] = {}
        self._models: Models | None = None
        self.ooms = 0

    def load(self) -> None:
        """Open the models and run each on its largest input. Raises ModelCorrupt or OutOfMemory."""
        try:
            self._sessions = open_sessions(self._paths, threads=self._threads, arena_bytes=self._arena_bytes)
            self._models = Models.of(self._sessions, self._detector_pixels)
            for role, values in self._models.largest().items():
                self._sessions[role].run(values)
        except UllageError:
            self.close()
            raise

    def run(self, asked: Asked) -> Found:
        """Raises InvalidRequest or TooLarge for the picture, OutOfMemory (the engine stays usable) or EngineFailed."""
        if self._models is None:
            raise EngineFailed("the engine is not loaded")
        image = decode(asked.data, max_pixels=self._max_pixels)
        models = self._models
        for share in SHARES:
            try:
                return models.look(asked, image)
            except OutOfMemory as error:
                self.ooms += 1
                log.warning("out of memory", task=asked.task, reason=error.message, again_with_share=share)
                self.release()  # what earlier shapes left in the arena may be in pieces
                models = self._models.shrunk(share)
        return models.look(asked, image)

    def release(self) -> None:
        """Give back what the arena holds free, and the heap. Never fails."""
        if self._models is not None:
            with contextlib.suppress(UllageError):
                role, values = self._models.least()
                self._sessions[role].run(values, give_back=True)
        trim_memory()

    def close(self) -> None:
        """Idempotent."""
        self._models = None
        close_sessions(self._sessions)
        gc.collect()
        trim_memory()


@dataclass(frozen=True, slots=True)
class Models:
    """The opened models; None where no task needs one. `coarse` is the detector on smaller inputs."""

    detector: Detector | None
    coarse: Detector | None
    recogniser: Recogniser | None
    layout: Layout | None
    table: TableModel | None

    @classmethod
    def of(cls, sessions: Mapping[str, Session], detector_pixels: int) -> Models:
        """Raises ModelCorrupt for a file that is another model."""
        coarse = min(COARSE_PIXELS, detector_pixels)
        return cls(
            detector=Detector(sessions["detection"], max_pixels=detector_pixels) if "detection" in sessions else None,
            coarse=Detector(sessions["detection"], max_pixels=coarse) if "detection" in sessions else None,
            recogniser=Recogniser(sessions["recognition"], max_width=LINE_WIDTH) if "recognition" in sessions else None,
            layout=Layout(sessions["layout"]) if "layout" in sessions else None,
            table=TableModel(sessions["table"]) if "table" in sessions else None,
        )

    def shrunk(self, share: float) -> Models:
        """The same with detectors of fewer pixels."""
        if self.detector is None or self.coarse is None:
            return self
        return replace(self, detector=self.detector.shrunk(share), coarse=self.coarse.shrunk(share))

    def largest(self) -> dict[str, Float32]:
        """The largest input of each model, by role."""
        roles = {"detection": self.detector, "recognition": self.recogniser, "layout": self.layout, "table": self.table}
        return {role: model.largest() for role, model in roles.items() if model is not None}

    def least(self) -> tuple[str, Float32]:
        """A small input, and for which model."""
        if self.recogniser is not None:
            return "recognition", np.zeros((1, 3, 48, 32), np.float32)
        return "detection", np.zeros((1, 3, 32, 32), np.float32)

    def look(self, asked: Asked, image: Pixels) -> Found:
        height, width = image.shape[:2]
        looks: dict[VisionTask, Callable[[Asked, Pixels], Sequence[Region]]] = {
            "page-elements": self._page, "graphic-elements": self._chart, "table-structure": self._table,
        }
        if asked.task == "ocr":
            lines = self._ocr.read(image, words=asked.level == "word")
            return Found(width, height, lines=tuple(merged(lines, asked.level)))
        return Found(width, height, regions=tuple(looks[asked.task](asked, image)))

    def _page(self, asked: Asked, image: Pixels) -> list[Region]:
        assert self.layout is not None
        assert self.coarse is not None
        even = cleaned(image)
        return page_elements(even, self.layout.find(even, least=LEAST), self.coarse.find(image), asked.version)

    def _chart(self, _: Asked, image: Pixels) -> list[Region]:
        return graphic_elements(cleaned(image), self._ocr.read(image, turned=False))

    def _table(self, _: Asked, image: Pixels) -> list[Region]:
        assert self.table is not None
        assert self.detector is not None
        even = cleaned(image)
        return table_structure(even, self.table.read(even), self.detector.find(image))

    @property
    def _ocr(self) -> Ocr:
        assert self.detector is not None
        assert self.recogniser is not None
        return Ocr(self.detector, self.recogniser)

"""The one handler behind every route and port of vision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ullage.engines.vision.engine import Asked
from ullage.engines.vision.lines import Level
from ullage.errors import NotReady, UnknownModel
from ullage.http import Health
from ullage.http.metrics import PhaseMetrics
from ullage.http.names import Names
from ullage.http.telling import told
from ullage.models.card import Card
from ullage.serve.encoder import within
from ullage.serve.vision.lifecycle import VisionLifecycle
from ullage.serve.vision.pool import Looked
from ullage.settings import Settings, VisionTask

NAMES: Mapping[VisionTask, str] = {
    "page-elements": "ullage/page-elements-{version}",
    "graphic-elements": "ullage/graphic-elements-v1",
    "table-structure": "ullage/table-structure-v1",
    "ocr": "ullage/ocr-v1",
}
"""What each task is listed as. The NIMs' clients take the labels of page-elements from the end of its name."""


def names_of(task: VisionTask, settings: Settings) -> Names:
    return Names.of([NAMES[task].format(version=settings.page_elements_version)])


@dataclass(frozen=True, slots=True)
class VisionService:
    """The tasks of this process, as one of its ports sees them."""

    card: Card
    settings: Settings
    lifecycle: VisionLifecycle
    health: Health
    phases: PhaseMetrics

    async def look(
        self, task: VisionTask, files: Sequence[bytes], levels: Sequence[Level] = (), model: str | None = None
    ) -> Looked:
        """What is in each picture. Raises UnknownModel, NotReady, DeadlineExceeded and what Pool.look raises."""
        self.check(task, model)
        if self.lifecycle.pool is None or not self.health.ready:
            raise NotReady(f"vision is not ready: {self.health.reason}", retry_after_s=2)
        levels = levels or ["paragraph"] * len(files)
        version = self.settings.page_elements_version
        asked = [Asked(task, data, level, version) for data, level in zip(files, levels, strict=True)]
        looked = await within(self.settings.request_timeout_s, self.lifecycle.pool.look(asked))
        self.phases.observe(_seconds(looked))
        return looked

    def check(self, task: VisionTask, model: str | None) -> None:
        """Raises UnknownModel for a task that this process does not do, or a model that is not the task's."""
        if task not in self.settings.tasks:
            raise UnknownModel(f"{task} is not served here: {', '.join(self.settings.tasks)} are (vision_tasks)")
        names = names_of(task, self.settings)
        if model is not None and not names.knows(model):
            raise names.unknown(model)

    def told(self, looked: Looked) -> dict[str, str]:
        """Headers of phases and of the model's revision."""
        return told(_seconds(looked), (), revision=self.card.revision)


def _seconds(looked: Looked) -> dict[str, float]:
    return {"queue": looked.queue_s, "compute": looked.compute_s}

"""Inside the plan: what fits, what is refused, and what the process is told of it."""

from __future__ import annotations

import pytest

from ullage.devices import Machine, detect
from ullage.errors import DoesNotFit, EngineFailed, ModelUnsupported, OutOfMemory, SettingsError
from ullage.http import Health
from ullage.models.card import find_card
from ullage.models.files import locate
from ullage.models.resolve import resolve
from ullage.models.vision import card_for
from ullage.plan.vision import arena_bytes
from ullage.serve.vision.lifecycle import VisionLifecycle
from ullage.settings import Settings, load
from ullage.stack.place import place, place_one

MIB = 1 << 20


def test_every_file_is_in_the_card_by_its_hash(model_cache):
    card = find_card("ullage/page-vision", "vision")
    assert {file.role for file in card.files} == {"layout", "table", "detection", "recognition"}
    assert set(locate(card, model_cache)) == {"layout", "table", "detection", "recognition"}


def test_a_smaller_budget_gives_the_detector_less():
    machine: Machine = detect()
    ids = [place_one(Settings(vision_memory=size * MIB), "vision", machine)["vision"].profile_id
           for size in (700, 630, 560)]
    assert ids == ["cpu-fp32-p1100k", "cpu-fp32-p800k", "cpu-fp32-p500k"]
    with pytest.raises(DoesNotFit, match="smallest budget that works"):
        place_one(Settings(vision_memory=100 * MIB), "vision", machine)


def test_one_task_alone_takes_less_and_a_larger_picture_more():
    machine = detect()

    def total(**changed):
        return place_one(Settings(vision_profile="cpu-fp32-p500k", **changed), "vision", machine)["vision"].ledger.total

    assert total(vision_tasks="table-structure") < total()
    assert total(vision_max_pixels=36_000_000) - total() == 18_000_000 * 10


def test_the_stack_has_vision_when_asked():
    machine = detect()
    assert "vision" not in [planned.service for planned in place(Settings(), machine=machine).services]
    assert "vision" in [planned.service for planned in place(Settings(enable_vision=True), machine=machine).services]
    away = Settings(enable_vision=True, vision_url="http://elsewhere:8000")
    assert "vision" not in [planned.service for planned in place(away, machine=machine).services]


@pytest.mark.parametrize("name", ["nvidia/nemotron-page-elements-v3", "nemotron-ocr-v1"])
def test_the_vendors_models_are_refused_in_one_clear_line(name):
    with pytest.raises(ModelUnsupported, match=r"no engine here runs its network yet.*leave vision_model"):
        place_one(Settings(vision_model=name), "vision", detect())


def test_a_folder_is_refused_in_one_clear_line(tmp_path):
    with pytest.raises(ModelUnsupported, match="cannot be loaded yet: leave vision_model at ullage/page-vision"):
        resolve(str(tmp_path), "vision")


@pytest.mark.parametrize(("flags", "said"), [
    ({"vision_tasks": "ocr,barcode"}, "there are page-elements, graphic-elements, table-structure, ocr"),
    ({"ocr_port": 8000}, "two vision tasks want one port"),
])
def test_settings_that_cannot_hold_are_refused(flags, said):
    with pytest.raises(SettingsError, match=said):
        load(flags, environ={})


def test_ports_are_those_of_the_replaced_stack():
    settings = Settings()
    assert settings.vision_ports() == {8000: "page-elements", 8003: "graphic-elements", 8006: "table-structure",
                                       8012: "ocr"}
    assert Settings(vision_tasks="ocr").port("vision") == 8012


def test_a_card_for_a_task_has_its_files_alone():
    card = card_for(find_card("ullage/page-vision", "vision"), ["ocr"])
    assert {file.role for file in card.files} == {"detection", "recognition"}


class Small:
    """Has room for the smallest profile alone, and reads what it is asked to when `reads`."""

    ooms = 0

    def __init__(self, planned, reads):
        self._fits = planned.profile.pixels <= 500_000
        self._reads = reads

    def load(self):
        if not self._fits:
            raise OutOfMemory("no room for this one")

    def run(self, asked):
        from ullage.engines.vision.engine import Found
        from ullage.engines.vision.shapes import Box, Line

        return Found(9, 9, lines=(Line(Box(0, 0, 9, 9).points, self._reads, 1.0),))

    def release(self): ...

    def close(self): ...


def lifecycle_of(reads):
    settings = Settings()
    planned = place_one(settings, "vision", detect())["vision"]
    return VisionLifecycle(settings, planned, lambda _, planned: Small(planned, reads)), planned


async def test_a_profile_that_does_not_load_steps_down():
    lifecycle, planned = lifecycle_of("Ready?")
    health = Health()
    await lifecycle.start(health)
    assert lifecycle.memory.profile == "cpu-fp32-p500k"
    assert [step.profile for step in lifecycle.memory.stepped_down] == ["cpu-fp32-p1100k", "cpu-fp32-p800k"]
    assert arena_bytes(planned.profile) > 200 * MIB
    await lifecycle.stop()
    await lifecycle.stop()


async def test_models_that_do_not_read_the_first_page_are_not_ready():
    lifecycle, _ = lifecycle_of("hello")
    with pytest.raises(EngineFailed, match="reads 'hello' and not 'Ready"):
        await lifecycle.start(Health())
    await lifecycle.stop()

"""Which library runs a graph on the CPU, and in what."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from checkpoints import make_checkpoint
from ullage.devices import Machine
from ullage.errors import SettingsError
from ullage.models.card import Card, find_card
from ullage.models.folder import card_from_folder
from ullage.plan import plan_service
from ullage.plan.cpu_backend import cpu_backend, graph_precisions
from ullage.settings import Settings

MACHINE = Machine(
    cores=2, total_bytes=8 << 30, free_bytes=8 << 30, limit="host",
    cpu_flags=("avx2", "avx512f", "avx512_vnni", "avx512_bf16"),
)
WITHOUT = dataclasses.replace(MACHINE, runtimes=("onnx", "llama.cpp"))
BUNDLED = find_card("all-MiniLM-L6-v2", "embedding")


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Card:
    return card_from_folder(make_checkpoint(tmp_path_factory.mktemp("r") / "m", labels=1), "ranking")


def settings_of(**given: Any) -> Settings:
    return Settings(**given)


def test_openvino_where_it_is_installed_and_the_other_by_choice() -> None:
    assert cpu_backend(BUNDLED, settings_of(), MACHINE) == "openvino"
    assert cpu_backend(BUNDLED, settings_of(), WITHOUT) == "onnxruntime"
    assert cpu_backend(BUNDLED, settings_of(cpu_backend="onnxruntime"), MACHINE) == "onnxruntime"
    with pytest.raises(SettingsError, match=r"^cpu_backend=openvino, but .* pip install openvino, or set it to auto$"):
        cpu_backend(BUNDLED, settings_of(cpu_backend="openvino"), WITHOUT)


def test_an_unknown_library_is_no_setting() -> None:
    with pytest.raises(ValueError, match="cpu_backend"):
        settings_of(cpu_backend="tensorrt")


def test_a_graph_of_the_operators_own_stays_with_onnxruntime(ranker: Card) -> None:
    source = ranker.files[0].source.model_copy(update={"path": str(Path("/somewhere/model.onnx"))})
    ready = ranker.model_copy(update={"files": (ranker.files[0].model_copy(update={"source": source}),)})
    assert cpu_backend(ready, settings_of(), MACHINE) == "onnxruntime"
    assert cpu_backend(ready, settings_of(cpu_backend="openvino"), MACHINE) == "openvino"
    assert graph_precisions(ready, settings_of(), MACHINE) == ["fp32"]


@pytest.mark.parametrize(("backend", "flags", "offered"), [
    ("openvino", ("avx512_vnni", "avx512_bf16"), ["fp32", "bf16", "int8"]),
    ("openvino", ("avx2",), ["fp32", "int8"]),
    ("onnxruntime", ("avx512_vnni", "avx512_bf16"), ["fp32", "int8"]),
    ("onnxruntime", ("avx2",), ["fp32"]),
])
def test_precisions_are_what_the_cpu_can_do(
    ranker: Card, backend: str, flags: tuple[str, ...], offered: list[str]
) -> None:
    machine = dataclasses.replace(MACHINE, cpu_flags=flags)
    assert graph_precisions(ranker, settings_of(cpu_backend=backend), machine) == offered
    assert graph_precisions(BUNDLED, settings_of(cpu_backend=backend), machine) == ["int8"]


@pytest.mark.parametrize(("given", "profile"), [
    ({}, "cpu-fp32-t8192-s80"),
    ({"precision": "bf16"}, "cpu-bf16-t8192-s80"),
    ({"precision": "int8"}, "cpu-int8-t8192-s80"),
    ({"precision": "int8", "cpu_backend": "onnxruntime"}, "cpu-int8-t8192-s80"),
])
def test_a_profile_says_its_precision(ranker: Card, given: dict[str, str], profile: str) -> None:
    settings = settings_of(ranking_device="cpu", **given)
    found = plan_service("ranking", ranker, settings, MACHINE)["ranking"]
    assert found.profile_id.replace(f"s{ranker.max_sequence}", "s80") == profile


def test_a_precision_the_cpu_lacks_is_refused_with_those_it_has(ranker: Card) -> None:
    machine = dataclasses.replace(MACHINE, cpu_flags=("avx2",))
    with pytest.raises(SettingsError, match="precision=bf16: on the CPU m runs in fp32 or int8; leave it at auto"):
        plan_service("ranking", ranker, settings_of(ranking_device="cpu", precision="bf16"), machine)


def test_instances_share_the_weights_of_openvino_only(ranker: Card) -> None:
    def weights(backend: str, instances: int) -> int:
        settings = settings_of(ranking_device="cpu", cpu_backend=backend, instances=instances)
        return plan_service("ranking", ranker, settings, MACHINE)["ranking"].ledger.weights

    assert weights("openvino", 2) == weights("openvino", 1)
    assert weights("onnxruntime", 2) == 2 * weights("onnxruntime", 1)

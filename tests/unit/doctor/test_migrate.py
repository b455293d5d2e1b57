"""A blueprint's files become ours: services, plan, environment, and the reason for what was dropped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from ullage.cli.main import main
from ullage.devices import find_machine
from ullage.doctor import examine
from ullage.doctor.catalog import Catalog
from ullage.doctor.migrate import Migration, migration, write
from ullage.errors import InvalidRequest
from ullage.settings import load

SECRET = "nvapi-0123456789abcdefABCDEF-not-a-real-one"


@pytest.fixture(scope="module")
def blueprint() -> list[Path]:
    root = Path(__file__).parents[2] / "doctor"
    return [root / "incident" / "nims.yaml", root / "healthy" / "rag-server.yaml", root / "healthy" / "ingestor.yaml",
            root / "healthy" / "vectordb.yaml", root / "incident" / "env.single-a100"]


@pytest.fixture(scope="module")
def made(blueprint: list[Path]) -> Migration:
    return migration(blueprint, find_machine("a100dx-80c-held"))


@pytest.fixture(scope="module")
def written(made: Migration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("migrated") / "new"
    write(made, folder, "en")
    return folder


def test_each_service_goes_where_it_belongs(made: Migration):
    assert set(made.taken) == {"ranking", "embedding", "llm", "vision", "rag", "ingest", "web"}
    assert set(made.kept) == {"milvus", "etcd", "minio"}
    assert {line.what for line in made.dropped} == {"redis", "nv-ingest-ms-runtime"}
    assert len(made.taken["vision"]) == 4


def test_the_plan_is_that_of_the_incidents_machine(made: Migration):
    assert made.plan["ranking"].where == "cuda:0"
    assert made.plan.gpu_bytes(0) < made.plan.machine.gpus[0].free_bytes
    assert made.chosen is not None
    assert made.chosen.models["ranking_model"] == "nvidia/llama-3.2-nemoretriever-500m-rerank-v2"
    assert any("llama-3.1-8b-instruct" in line.what for line in made.chosen.notes)


def test_the_environment_is_mapped_and_what_is_not_is_explained(made: Migration):
    values = made.mapped.values("ranking")
    assert values["max_batch_rows"] == "8"
    assert values["max_sequence"] == "2048"
    assert values["retrieve_top_k"] == "100"
    assert "ranking_url" not in values
    dropped = "\n".join(made.mapped.dropped)
    assert "NIM_MODEL_PROFILE=a100x1-trt-fp16-dxtbz8wstg" in dropped
    assert "this is no profile id" in dropped
    holds = "\n".join(made.mapped.holds)
    assert "NIM_DISABLE_TRT=1" in holds


def test_the_compose_file_is_sound_and_ours(made: Migration, written: Path, known: Catalog):
    tree = yaml.safe_load((written / "compose.yaml").read_text(encoding="utf-8"))
    assert set(tree["services"]) == {*made.taken, *made.kept}
    ranking = tree["services"]["ranking"]
    assert ranking["command"] == ["serve", "ranking"]
    assert ranking["ports"] == ["127.0.0.1:1976:1976"]
    assert "nemoretriever-ranking-ms" in ranking["networks"]["default"]["aliases"]
    assert ranking["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] == ["0"]
    gpu_ledger = made.plan["ranking"].gpu_ledger
    assert gpu_ledger is not None
    assert int(ranking["environment"]["ULLAGE_RANKING_GPU_MEMORY"]) == gpu_ledger.total
    assert tree["services"]["web"]["environment"]["ULLAGE_RAG_URL"] == "http://rag:8081"
    for name, body in tree["services"].items():
        if name in made.taken:
            assert body["healthcheck"]["test"][0] == "CMD"
            assert body["mem_limit"].endswith("m")
            assert set(body.get("depends_on", {})) <= set(tree["services"])
    found = examine([written / "compose.yaml", written / "ullage.env"], known).findings
    assert [f.id for f in found if f.severity != "info"] == []


def test_every_variable_that_was_written_is_one_that_the_settings_take(made: Migration, written: Path):
    tree = yaml.safe_load((written / "compose.yaml").read_text(encoding="utf-8"))
    lines = (written / "ullage.env").read_text(encoding="utf-8").splitlines()
    shared = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    for service in made.taken:
        environ = {**shared, **tree["services"][service]["environment"]}
        assert load(service=service, environ={**environ, "HOME": os.environ.get("HOME", "/")}).settings


def test_no_secret_is_written(written: Path):
    for path in written.iterdir():
        assert SECRET not in path.read_text(encoding="utf-8")


def test_a_machine_without_a_gpu_gets_the_defaults_and_the_reason(blueprint: list[Path], tmp_path: Path):
    made = migration(blueprint, find_machine("cpu-4gib-container"))
    assert made.chosen is not None
    assert made.chosen.models == {}
    assert all(planned.where == "cpu" for planned in made.plan.services)
    assert sum("wants a GPU" in line.why.en for line in made.chosen.notes) == 2
    write(made, tmp_path / "new", "de")
    tree = yaml.safe_load((tmp_path / "new" / "compose.yaml").read_text(encoding="utf-8"))
    served = tree["services"]["ranking"]["environment"]["ULLAGE_RANKING_SERVED_NAME"]
    assert served == "nvidia/llama-3.2-nemoretriever-500m-rerank-v2"
    assert (tmp_path / "new" / "MIGRATION.md").read_text(encoding="utf-8").startswith("# Umstellung")


def test_a_stack_on_elasticsearch_gets_vectors_of_ours(tmp_path: Path):
    path = tmp_path / "c.yaml"
    path.write_text("services:\n"
                    "  rag-server: {image: nvcr.io/nvidia/blueprint/rag-server:2.6.0}\n"
                    "  nemotron-embedding-ms: {image: nvcr.io/nim/nvidia/llama-nemotron-embed-1b-v2:1.13.0}\n"
                    "  elasticsearch: {image: elasticsearch:9.3.0}\n", encoding="utf-8")
    made = migration([path], find_machine("cpu-4gib-container"))
    write(made, tmp_path / "new", "en")
    tree = yaml.safe_load((tmp_path / "new" / "compose.yaml").read_text(encoding="utf-8"))
    assert "ullage.stack.lite_server" in tree["services"]["vectors"]["entrypoint"]
    assert tree["services"]["rag"]["environment"]["ULLAGE_VECTORS_URI"] == "http://vectors:19530"
    assert [line.what for line in made.dropped] == ["elasticsearch"]


def test_an_url_elsewhere_stays(tmp_path: Path):
    path = tmp_path / "c.yaml"
    path.write_text("services:\n  rag-server:\n    image: nvcr.io/nvidia/blueprint/rag-server:2.6.0\n    environment:\n"
                    "      APP_LLM_SERVERURL: https://llm.example.org/v1\n", encoding="utf-8")
    made = migration([path], find_machine("cpu-4gib-container"))
    assert made.mapped.values()["llm_url"] == "https://llm.example.org"


def test_folders_of_what_is_kept_stay_where_they_were(tmp_path: Path):
    path = tmp_path / "old" / "c.yaml"
    path.parent.mkdir()
    path.write_text("services:\n  rag-server: {image: nvcr.io/nvidia/blueprint/rag-server:2.6.0}\n"
                    "  milvus:\n    image: milvusdb/milvus:v2.6.5\n"
                    "    volumes: ['${DIR:-.}/volumes/milvus:/var/lib/milvus', './x:/x']\n", encoding="utf-8")
    made = migration([path], find_machine("cpu-4gib-container"))
    old = path.parent.resolve()
    assert made.kept["milvus"]["volumes"] == [f"${{DIR:-{old}}}/volumes/milvus:/var/lib/milvus", f"{old}/x:/x"]


def test_files_without_a_service_to_take_over_are_refused(tmp_path: Path, fixtures: Path):
    with pytest.raises(InvalidRequest, match="no service of the blueprint"):
        migration([fixtures / "healthy" / "vectordb.yaml"], find_machine("cpu-4gib-container"))
    broken = tmp_path / "compose.yaml"
    broken.write_text("services: [", encoding="utf-8")
    with pytest.raises(InvalidRequest, match="is no YAML"):
        migration([broken], find_machine("cpu-4gib-container"))


def test_the_command_writes_once(blueprint: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = ["doctor", "migrate", *map(str, blueprint), "--device-file", "a100dx-80c-held", "--out",
               str(tmp_path / "new")]
    assert main(command) == 0
    assert "takes the place of nemoretriever-ranking-ms" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"compose.yaml", "ullage.env", "MIGRATION.md"}
    assert main(command) == 2
    assert "is not empty" in capsys.readouterr().err


import pytest

from ullage.settings import Settings
from ullage.settings.names import NAMES


def test_every_setting_its_value_and_its_origin(ullage, tmp_path, monkeypatch):
    file = tmp_path / "ullage.yaml"
    file.write_text("rag_port: 1\nllm_port: 2\nmemory: 700MiB\n")
    monkeypatch.setenv("APP_RETRIEVER_TOPK", "4")
    ran = ullage("--config", file, "--set", "llm_port=3", "settings", "--json")
    found = {row["name"]: (row["value"], row["origin"], row["foreign"]) for row in ran.json["settings"]}
    assert set(found) == set(Settings.model_fields)
    assert found["rag_port"] == (1, f"file {file}", None)
    assert found["llm_port"] == (3, "flag", None)
    assert found["memory"] == (700 << 20, f"file {file}", None)
    assert found["rerank_top_k"] == (4, "env APP_RETRIEVER_TOPK", "APP_RETRIEVER_TOPK")
    assert found["ingest_port"] == (8082, "default", None)
    assert found["threads"] == (None, "default", None)
    assert "APP_RETRIEVER_TOPK=4 sets rerank_top_k=4" in ran.json["notes"]


def test_people_see_a_line_a_setting_and_what_became_of_foreign_names(ullage, monkeypatch):
    names = ["name", *Settings.model_fields]
    assert [line.split()[0] for line in ullage("settings").out.splitlines()][:len(names)] == names
    monkeypatch.setenv("NIM_MAX_BATCH_SIZE", "8")
    monkeypatch.setenv("NIM_DISABLE_TRT", "1")
    shown = ullage("settings").out.splitlines()
    [row] = [line for line in shown if line.startswith("max_batch_rows ")]
    assert row.split()[:5] == ["max_batch_rows", "8", "env", "NIM_MAX_BATCH_SIZE", "NIM_MAX_BATCH_SIZE"]
    assert "NIM_MAX_BATCH_SIZE=8 sets max_batch_rows=8" in shown
    assert f"NIM_DISABLE_TRT=1: {NAMES['NIM_DISABLE_TRT'].why}" in shown


def test_every_setting_says_what_it_is():
    assert [name for name, info in Settings.model_fields.items() if not info.description] == []


def test_names_for_one_service_need_the_service(ullage, monkeypatch):
    monkeypatch.setenv("NIM_HTTP_API_PORT", "8000")
    assert "ULLAGE_RANKING_PORT or ULLAGE_EMBEDDING_PORT" in ullage("settings").refusal
    rows = ullage("settings", "--service", "embedding", "--json").json["settings"]
    assert {row["name"]: row["value"] for row in rows}["embedding_port"] == 8000
    assert "names 2 services: name one" in ullage("settings", "--service", "ranking,rag").refusal
    assert "did you mean ranking?" in ullage("settings", "--service", "rankin").refusal


def test_one_name_is_explained_with_what_becomes_of_its_value(ullage, monkeypatch):
    assert ullage("settings", "nim_disable_trt").out.startswith("NIM_DISABLE_TRT (holds): ")
    monkeypatch.setenv("NIM_MODEL_PROFILE", "profile_0")
    meaning, now = ullage("settings", "NIM_MODEL_PROFILE").out.splitlines()
    assert meaning.startswith("NIM_MODEL_PROFILE (sets): sets `SERVICE_profile`")
    assert now.startswith("NIM_MODEL_PROFILE=profile_0 is refused: this is no profile id")
    monkeypatch.setenv("NIM_MODEL_PROFILE", "cpu-int8-t4096-s512")
    said = ullage("settings", "NIM_MODEL_PROFILE", "--service", "ranking", "--json").json
    assert said["now"] == "NIM_MODEL_PROFILE=cpu-int8-t4096-s512 sets ranking_profile=cpu-int8-t4096-s512"


def test_one_of_our_names_is_explained_with_the_foreign_names_that_set_it(ullage):
    for name in ("max_sequence", "ULLAGE_MAX_SEQUENCE"):
        meaning, under = ullage("settings", name).out.splitlines()
        assert meaning.startswith("max_sequence (ULLAGE_MAX_SEQUENCE): tokens of one row")
        assert meaning.endswith("; default none")
        assert under == "also set by NIM_MAX_INPUT_LENGTH, NIM_TRITON_MAX_SEQ_LENGTH"
    assert "also set by NIM_BIND_ADDR, NIM_HTTP_API_PORT" in ullage("settings", "ranking_port").out
    assert "also set by" not in ullage("settings", "rag_port").out
    assert "did you mean NIM_DISABLE_TRT?" in ullage("settings", "NIM_DISABLE_TRTT").refusal


def test_all_foreign_names_can_be_listed(ullage):
    rows = ullage("settings", "--foreign", "--json").json
    assert [row["name"] for row in rows] == sorted(NAMES)
    assert all(row["verdict"] in ("sets", "holds", "refused") and row["effect"] for row in rows)
    assert "NIM_DISABLE_TRT" in ullage("settings", "--foreign").out


@pytest.mark.parametrize("style", [[], ["--json"]])
def test_no_secret_is_shown(ullage, monkeypatch, style):
    monkeypatch.setenv("NGC_API_KEY", "nvapi-hush")
    monkeypatch.setenv("ULLAGE_VECTORS_URI", "http://me:hush@milvus:19530")
    monkeypatch.setenv("ULLAGE_INGEST_LEDGER_URL", "postgresql://me:hush@db/tasks")
    for command in (["settings"], ["settings", "NGC_API_KEY"]):
        ran = ullage(*command, *style)
        assert ran.code == 0
        assert "hush" not in ran.out
        assert "not shown" in ran.out


def test_broken_settings_are_refused_by_every_command_that_reads_them(ullage, tmp_path):
    file = tmp_path / "ullage.yaml"
    file.write_text("memori: 1GiB\n")
    for command in (["settings"], ["plan"], ["up"], ["down"], ["status"], ["models"], ["serve", "rag"], ["ask", "x"]):
        ran = ullage("--config", file, *command)
        assert ran.code == 2
        assert "did you mean memory?" in ran.refusal

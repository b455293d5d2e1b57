import re

import pytest

from ullage.errors import SettingsError
from ullage.settings import Settings, load


def write(folder, text):
    file = folder / "ullage.yaml"
    file.write_text(text)
    return file


def refusal(environ=None, file=None, service=None, **flags):
    with pytest.raises(SettingsError) as refused:
        load(flags, service=service, environ=environ or {}, file=file)
    assert "\n" not in refused.value.message
    return refused.value.message


def test_defaults_need_nothing():
    effective = load(environ={})
    assert effective.settings == Settings()
    assert set(effective.origins.values()) == {"default"}
    assert set(effective.origins) == set(Settings.model_fields)


def test_flag_beats_environment_beats_file_beats_default(tmp_path):
    file = write(tmp_path, "rag_port: 1\nllm_port: 2\ningest_port: 3\n")
    environ = {"ULLAGE_RAG_PORT": "11", "ULLAGE_LLM_PORT": "12"}
    effective = load({"rag_port": 21, "ranking_port": None}, environ=environ, file=file)
    found = {name: (getattr(effective.settings, name), effective.origins[name])
             for name in ("rag_port", "llm_port", "ingest_port", "ranking_port")}
    assert found == {
        "rag_port": (21, "flag"),
        "llm_port": (12, "env ULLAGE_LLM_PORT"),
        "ingest_port": (3, f"file {file}"),
        "ranking_port": (1976, "default"),
    }


def test_the_file_may_be_named_in_the_environment(tmp_path):
    file = write(tmp_path, "memory: 700MiB\n")
    effective = load(environ={"ULLAGE_CONFIG": str(file)})
    assert effective.settings.memory == 700 << 20
    assert effective.origins["memory"] == f"file {file}"


@pytest.mark.parametrize(("text", "size"), [("2GiB", 2 << 30), ("1GB", 10**9), ("4096", 4096), ("1.5 KiB", 1536)])
def test_sizes_take_units(text, size):
    assert load(environ={"ULLAGE_MEMORY": text}).settings.memory == size


@pytest.mark.parametrize("text", ["", "-1GiB", "many", "1XB"])
def test_what_is_no_size_is_refused_with_an_example(text):
    said = refusal({"ULLAGE_MEMORY": text})
    assert said.startswith(f"memory={text!r} (from env ULLAGE_MEMORY): not a size")
    assert "700MiB" in said


@pytest.mark.parametrize(
    ("environ", "nearest"),
    [
        ({"ULLAGE_RANKIN_PORT": "1"}, "ULLAGE_RANKING_PORT"),
        ({"ULLAGE_MEMROY": "1"}, "ULLAGE_MEMORY"),
        ({"NIM_CACHE_DIR": "/x"}, "NIM_CACHE_PATH"),
        ({"APP_RETRIEVER_TOP_K": "3"}, "APP_RETRIEVER_TOPK"),
    ],
)
def test_an_unknown_name_in_the_environment_is_refused_with_the_nearest(environ, nearest):
    [name] = environ
    assert refusal(environ) == f"unknown setting {name} in the environment: did you mean {nearest}?"


def test_names_of_others_are_no_business_of_ours():
    assert load(environ={"PATH": "/bin", "NIMBLE": "1", "MY_ULLAGE_X": "1", "APPLE": "1"}).settings == Settings()


def test_an_unknown_name_in_the_file_is_refused_with_the_nearest(tmp_path):
    file = write(tmp_path, "memori: 1GiB\n")
    assert refusal(file=file) == f"unknown setting memori in {file}: did you mean memory?"


def test_an_unknown_flag_is_refused_with_the_nearest():
    assert refusal(memori="1GiB") == "unknown setting memori given as a flag: did you mean memory?"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("memory: [\n", "line 2"),
        ("a: b: c", "line 1"),
        ("- memory", "holds a list"),
        ("memory", "holds a str"),
        ("memory: 1GiB\nmemory: 2GiB", "line 2: memory is given twice"),
        ("collection: \x07", "special characters are not allowed"),
    ],
)
def test_broken_yaml_is_refused_with_its_place(tmp_path, text, said):
    file = write(tmp_path, text)
    message = refusal(file=file)
    assert str(file) in message
    assert said in message


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    assert f"{tmp_path / 'none.yaml'} does not exist" in refusal(file=tmp_path / "none.yaml")
    assert f"{tmp_path} cannot be read" in refusal(file=tmp_path)
    (tmp_path / "latin").write_bytes(b"collection: \xff\n")
    assert "cannot be read" in refusal(file=tmp_path / "latin")


def test_an_empty_file_says_nothing(tmp_path):
    assert load(environ={}, file=write(tmp_path, "# nothing yet\n")).settings == Settings()


def test_every_fault_is_told_at_once(tmp_path):
    file = write(tmp_path, "retrieve_top_k: 0\nfoo: 1\n")
    said = refusal({"ULLAGE_RAG_PORT": "99999", "NIM_PROFILE": "x"}, file=file, log_level="LOUD")
    for part in ("retrieve_top_k=0 (from file", "unknown setting foo", "rag_port='99999' (from env ULLAGE_RAG_PORT)",
                 "unknown setting NIM_PROFILE", "log_level='LOUD' (from flag)"):
        assert part in said
    assert said.count(";") == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [("rag_port", "0"), ("rag_port", "1.5"), ("threads", "0"), ("request_timeout_s", "nan"), ("collection", "a-b"),
     ("collection", ""), ("llm_max_tokens", "0"), ("enable_reranker", "perhaps"), ("chunk_tokens", "9000")],
)
def test_out_of_range_is_refused_with_the_value(name, value):
    assert refusal({f"ULLAGE_{name.upper()}": value}).startswith(f"{name}={value!r} (from env ULLAGE_")


def test_settings_that_contradict_each_other_are_refused():
    assert refusal(chunk_tokens=100, chunk_overlap=100) == "chunk_overlap=100 must be less than chunk_tokens=100"


def test_two_foreign_names_that_contradict_each_other_are_refused():
    environ = {"NIM_BIND_ADDR": "0.0.0.0:8000", "NIM_HTTP_API_PORT": "9000"}
    said = refusal(environ, service="ranking")
    assert re.search(r"NIM_HTTP_API_PORT=9000 contradicts NIM_BIND_ADDR=8000|NIM_BIND_ADDR=\S+ contradicts", said)
    assert load(service="ranking", environ={**environ, "NIM_HTTP_API_PORT": "8000"}).settings.ranking_port == 8000


def test_our_own_name_beats_the_foreign_one():
    effective = load(environ={"APP_RETRIEVER_TOPK": "4", "ULLAGE_RERANK_TOP_K": "6"})
    assert (effective.settings.rerank_top_k, effective.origins["rerank_top_k"]) == (6, "env ULLAGE_RERANK_TOP_K")


def test_paths_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = load(environ={}, file=write(tmp_path, "state_dir: ~/state\ncache_dir: ~/cache\n")).settings
    assert (settings.state_dir, settings.cache_dir) == (tmp_path / "state", tmp_path / "cache")

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ullage.errors import SettingsError
from ullage.settings import SERVICES, Settings, load
from ullage.settings.names import NAMES

WRONG = {
    "NIM_MODEL_PROFILE": "profile_0", "NIM_BACKENDS": "tensorrt", "NIM_NOT_A_NAME": "1", "ULLAGE_RANKING_PORT": "70000",
    "NIM_REPOSITORY_OVERRIDE": "mirror", "ENABLE_AGENTIC_RAG": "true", "NIM_MAX_BATCH_SIZE": "none",
    "APP_VECTORSTORE_PASSWORD": "hush", "ULLAGE_MEMROY": "1GiB", "NIM_BIND_ADDR": "nowhere",
}
"""Names with values that are wrong for ranking, each by itself."""


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


def test_an_unknown_name_in_the_file_is_refused_with_the_nearest(tmp_path):
    file = write(tmp_path, "memori: 1GiB\n")
    assert refusal(file=file) == f"unknown setting memori in {file}: did you mean memory?"


def test_an_unknown_flag_is_refused_with_the_nearest():
    assert refusal(memori="1GiB") == "unknown setting memori given as a flag: did you mean memory?"


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


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"chunk_tokens": 100, "chunk_overlap": 100}, "chunk_overlap=100 must be less than chunk_tokens=100"),
        ({"max_batch_tokens": 256, "max_sequence": 512},
         "max_batch_tokens=256 holds no row of max_sequence=512: raise the one or lower the other"),
        ({"memory": "1GiB", "rag_memory": "2GiB"},
         "rag_memory=2147483648 is more than memory=1073741824 of the whole stack: lower it"),
        ({"gpu_memory": "1GiB", "ranking_gpu_memory": "2GiB"},
         "ranking_gpu_memory=2147483648 is more than gpu_memory=1073741824 on each GPU: lower it"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(flags, said):
    assert refusal(**flags) == said


def test_every_contradiction_is_told_beside_every_fault():
    said = refusal(chunk_tokens=100, chunk_overlap=100, memory="1GiB", rag_memory="2GiB", llm_memory="3GiB", rag_port=0,
                   max_sequence="long", max_batch_tokens=16)
    for part in ("chunk_overlap=100 must", "rag_memory=2147483648 is", "llm_memory=3221225472 is",
                 "rag_port=0 (from flag)", "max_sequence='long' (from flag)"):
        assert part in said
    assert said.count(";") == 4


def test_two_foreign_names_that_contradict_each_other_are_refused():
    environ = {"NIM_BIND_ADDR": "0.0.0.0:8000", "NIM_HTTP_API_PORT": "9000"}
    assert refusal(environ, service="ranking") == (
        "NIM_HTTP_API_PORT=9000 contradicts NIM_BIND_ADDR=0.0.0.0:8000: both set ranking_port, keep one of them")
    agreed = load(service="ranking", environ={**environ, "NIM_HTTP_API_PORT": "8000"})
    assert agreed.settings.ranking_port == 8000
    assert agreed.notes == ("NIM_BIND_ADDR=0.0.0.0:8000 sets host=0.0.0.0, ranking_port=8000",
                            "NIM_HTTP_API_PORT=8000 sets ranking_port=8000")


def test_a_profile_by_id_and_by_number_is_one_too_many():
    environ = {"NIM_MODEL_PROFILE": "a" * 64, "NIM_PROFILE_INDEX": "1"}
    assert "NIM_PROFILE_INDEX=1 contradicts NIM_MODEL_PROFILE=aaaa" in refusal(environ, service="ranking")


def test_our_own_name_and_a_foreign_one_may_only_say_the_same():
    assert refusal({"APP_RETRIEVER_TOPK": "4", "ULLAGE_RERANK_TOP_K": "6"}) == (
        "APP_RETRIEVER_TOPK=4 contradicts ULLAGE_RERANK_TOP_K=6: both set rerank_top_k, keep one of them")
    effective = load(environ={"APP_RETRIEVER_TOPK": "4", "ULLAGE_RERANK_TOP_K": "04"})
    assert effective.origins["rerank_top_k"] == "env ULLAGE_RERANK_TOP_K"
    assert effective.notes == ("APP_RETRIEVER_TOPK=4 sets rerank_top_k=4",)


def test_a_value_out_of_range_is_told_once_and_contradicts_nothing():
    said = refusal({"APP_RETRIEVER_TOPK": "4", "ULLAGE_RERANK_TOP_K": "99"})
    assert said.startswith("rerank_top_k='99' (from env ULLAGE_RERANK_TOP_K)")
    assert ";" not in said


def test_a_flag_overrules_a_foreign_name_and_says_so():
    effective = load({"rerank_top_k": 6}, environ={"APP_RETRIEVER_TOPK": "4", "VECTOR_DB_TOPK": "50"})
    assert effective.settings.rerank_top_k == 6
    assert effective.overruled == ("APP_RETRIEVER_TOPK",)
    assert effective.foreign == {"retrieve_top_k": "VECTOR_DB_TOPK"}
    assert effective.notes == ("APP_RETRIEVER_TOPK=4 gives way to rerank_top_k=6 (flag)",
                               "VECTOR_DB_TOPK=50 sets retrieve_top_k=50")


def test_a_foreign_name_has_its_place_in_the_environment_alone(tmp_path):
    file = write(tmp_path, "NIM_MAX_BATCH_SIZE: 8\n")
    assert refusal(file=file) == f"NIM_MAX_BATCH_SIZE is a name for the environment, not for {file}: set it there"
    assert refusal(nim_max_batch_size="8") == (
        "nim_max_batch_size is a name for the environment, not for a flag: set NIM_MAX_BATCH_SIZE there")


NAMED = st.sampled_from([*NAMES, *(f"ULLAGE_{name.upper()}" for name in Settings.model_fields)])
UNKNOWN = st.builds("".join, st.tuples(st.sampled_from(["ULLAGE_", "NIM_", "APP_"]), st.text(max_size=8)))
VALUES = st.one_of(
    st.text(max_size=20), st.sampled_from(["1", "0", "true", "-1", "8000", "1e400", "0.0.0.0:80", "http://[", "~x/y",
                                           "9" * 400, "auto", "4,2", "\ud800", "a\nb", "²", "nan", "1GiB"]))


@hypothesis_settings(deadline=None)
@given(st.dictionaries(st.one_of(NAMED, UNKNOWN, st.text(max_size=12)), VALUES, max_size=8),
       st.dictionaries(st.sampled_from([*Settings.model_fields, "memori", "nim_backends"]),
                       st.one_of(VALUES, st.integers(), st.floats(), st.booleans(), st.none()), max_size=4),
       st.sampled_from([None, *SERVICES]))
def test_whatever_is_given_is_taken_or_refused_in_one_line(environ, flags, service):
    environ.pop("ULLAGE_CONFIG", None)
    try:
        effective = load(flags, service=service, environ=environ)
    except SettingsError as refused:
        assert refused.message.isprintable()
    else:
        assert all(note.isprintable() for note in effective.notes)
        told = {note.split("=")[0] for note in effective.notes}
        assert told == {name for name in environ if name in NAMES and environ[name].strip().strip("\"'").strip()}
        for name, origin in effective.origins.items():
            assert origin == "default" or flags.get(name) is not None or origin.removeprefix("env ") in environ


@hypothesis_settings(deadline=None)
@given(st.lists(st.sampled_from(sorted(WRONG)), min_size=1, unique=True))
def test_every_fault_is_named_at_once(chosen):
    said = refusal({name: WRONG[name] for name in chosen}, service="ranking")
    assert said.count("; ") >= len(chosen) - 1
    assert all(name in said for name in chosen)


@pytest.mark.parametrize("huge", ["9" * 400, "9" * 400 + "GiB", "1" + "0" * 308 + ".9TB"])
def test_a_size_beyond_all_bounds_is_taken_or_refused(huge):
    try:
        assert load(environ={"ULLAGE_MEMORY": huge}).settings.memory > 1 << 60
    except SettingsError as refused:
        assert "not a size" in refused.message


def test_without_a_home_folder_the_folders_must_be_named(monkeypatch, tmp_path):
    def nowhere(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", nowhere)
    assert refusal({"ULLAGE_RAG_PORT": "0"}).endswith("there is no home folder: set HOME, or state_dir and cache_dir")
    folders = {"ULLAGE_STATE_DIR": str(tmp_path), "ULLAGE_CACHE_DIR": str(tmp_path)}
    assert load(environ=folders).settings.state_dir == tmp_path


def test_paths_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = load(environ={}, file=write(tmp_path, "state_dir: ~/state\ncache_dir: ~/cache\n")).settings
    assert (settings.state_dir, settings.cache_dir) == (tmp_path / "state", tmp_path / "cache")

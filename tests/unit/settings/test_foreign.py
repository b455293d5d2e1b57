from pathlib import Path

import pytest

from ullage.errors import SettingsError
from ullage.settings import Settings, load
from ullage.settings.foreign import NIMS
from ullage.settings.names import NAMES, table

CONTRACT = (Path(__file__).parent / "contract_names.txt").read_text(encoding="utf-8").split()
"""Every name in the documents of the stack we replace, gathered by hand and by pattern."""
DOCUMENT = Path(__file__).parents[3] / "docs" / "settings-names.md"


def refusal(environ, service="ranking"):
    with pytest.raises(SettingsError) as refused:
        load(service=service, environ=environ)
    assert len(refused.value.message.splitlines()) == 1
    return refused.value.message


@pytest.mark.parametrize("name", CONTRACT)
def test_every_name_of_the_contracts_takes_effect_or_is_held_or_refused(name):
    known = NAMES[name]
    assert known.effect
    assert "|" not in known.effect
    if known.sets:
        assert known.verdict == "sets"
        assert all(target.format(service="ranking") in Settings.model_fields for target in known.sets)
    else:
        assert known.verdict == ("refused" if known.accepted == () else "holds")
        assert known.why or known.accepted == ()
        assert known.instead or known.accepted is None


@pytest.mark.parametrize("name", [name for name, known in NAMES.items() if not known.sets])
def test_a_name_that_sets_nothing_is_noted_or_refused_and_never_passed_over(name):
    known = NAMES[name]
    for value in ("something else", *(known.accepted or ())):
        if known.accepted is None or value in known.accepted:
            effective = load(service="ranking", environ={name: value.upper()})
            assert effective.settings == Settings()
            [note] = effective.notes
            assert note.startswith(f"{name}=")
            assert note.endswith(f": {known.why}")
        else:
            said = refusal({name: value})
            assert said.startswith(f"{name}=")
            assert said.endswith(f" is refused: {known.instead}")


def test_the_table_in_the_documents_is_this_one():
    assert table() in DOCUMENT.read_text(encoding="utf-8"), "run scripts/settings_names.py to write it again"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"NIM_MODEL_PROFILE": "a100x1-trt-fp16-dxtbz8wstg"},
         "NIM_MODEL_PROFILE=a100x1-trt-fp16-dxtbz8wstg is refused: this is no profile id (a folder of an engine cache "
         "is none): leave it out, or take an id from `ullage list-model-profiles`"),
        ({"NIM_MODEL_PROFILE": "profile_0"},
         "NIM_MODEL_PROFILE=profile_0 is refused: this is no profile id: `ullage list-model-profiles` lists them, and "
         "NIM_PROFILE_INDEX=0 or ULLAGE_RANKING_PROFILE=0 picks by number"),
        ({"NIM_BACKENDS": "tensorrt"},
         "NIM_BACKENDS=tensorrt is refused: write python; TensorRT and Triton are never used"),
        ({"ENABLE_AGENTIC_RAG": "True"},
         "ENABLE_AGENTIC_RAG=True is refused: ullage has no agentic pipeline yet; write 0 or leave it out"),
        ({"NIM_ENABLE_OTEL": "1"},
         "NIM_ENABLE_OTEL=1 is refused: ullage has no telemetry yet; write 0 or leave it out"),
        ({"NIM_PRECISION": "fp4"}, "NIM_PRECISION=fp4 is refused: write auto, fp32, bf16, fp16, fp8 or int8"),
    ],
)
def test_a_refusal_names_the_value_and_what_would_be_right(environ, said):
    assert refusal(environ) == said


def test_what_the_author_of_the_incident_set_holds_or_takes_effect():
    environ = {"NIM_DISABLE_TRT": "1", "NIM_FORCE_PYTHON": "1", "NIM_BACKENDS": "python", "NIM_PROFILE_INDEX": "0",
               "NIM_MAX_BATCH_SIZE": "8", "NIM_MAX_INPUT_LENGTH": "2048"}
    effective = load(service="ranking", environ=environ)
    found = effective.settings
    assert (found.ranking_profile, found.max_batch_rows, found.max_sequence) == ("0", 8, 2048)
    assert [note.split("=")[0] for note in effective.notes] == sorted(environ)
    assert "NIM_MAX_BATCH_SIZE=8 sets max_batch_rows=8" in effective.notes
    assert effective.foreign == {"ranking_profile": "NIM_PROFILE_INDEX", "max_batch_rows": "NIM_MAX_BATCH_SIZE",
                                 "max_sequence": "NIM_MAX_INPUT_LENGTH"}


def test_a_name_for_one_service_is_refused_where_several_are_meant():
    assert refusal({"NIM_HTTP_API_PORT": "8000"}, service=None) == (
        "NIM_HTTP_API_PORT=8000 speaks to one service, and this command is for several: "
        "set ULLAGE_RANKING_PORT or ULLAGE_EMBEDDING_PORT or ULLAGE_LLM_PORT")
    assert refusal({"NIM_SERVED_MODEL_NAME": "mine"}, service=None).endswith(
        "set ULLAGE_RANKING_SERVED_NAME or ULLAGE_EMBEDDING_SERVED_NAME")


@pytest.mark.parametrize("name", [name for name, known in NAMES.items() if any("{" in target for target in known.sets)])
def test_a_name_for_one_service_speaks_to_the_one_that_is_started(name):
    value = ":80" if name.endswith("_BIND_ADDR") else "1"
    value = "cpu-int8-t4096-s512" if name == "NIM_MODEL_PROFILE" else value
    for service in NIMS:
        effective = load(service=service, environ={name: value})
        assert all(setting.startswith(f"{service}_") for setting in effective.foreign)
        assert effective.foreign or effective.notes[0].startswith(f"{name}={value} has no object here")
    for service in ("rag", "ingest"):
        effective = load(service=service, environ={name: value})
        assert effective.settings == Settings()
        assert effective.notes == (f"{name}={value} has no object here: it speaks to ranking, embedding, llm, and this "
                                   f"is {service}",)


def test_a_name_whose_service_lacks_the_setting_is_noted():
    assert load(service="llm", environ={"NIM_CPU_ONLY": "1"}).notes == (
        "NIM_CPU_ONLY=1 has no object here: llm has no device",)


@pytest.mark.parametrize("name", ["NGC_API_KEY", "NVIDIA_API_KEY", "HF_TOKEN", "SUMMARY_LLM_APIKEY"])
def test_a_secret_is_never_told(name):
    [note] = load(environ={name: "nvapi-secret"}).notes
    assert note.startswith(f"{name}=(not shown): ")


def test_a_secret_is_never_told_in_a_refusal_or_in_a_url():
    assert "hush" not in refusal({"APP_VECTORSTORE_PASSWORD": "hush"})
    environ = {"APP_VECTORSTORE_URL": "http://me:hush@milvus:19530"}
    effective = load(environ=environ)
    assert effective.settings.vectors_uri == environ["APP_VECTORSTORE_URL"]
    assert effective.notes == ("APP_VECTORSTORE_URL=http://***@milvus:19530 sets vectors_uri=http://***@milvus:19530",)
    assert "hush" not in refusal({**environ, "ULLAGE_VECTORS_URI": "http://you:hush@other:1"})


def test_what_counts_tokens_is_no_secret():
    assert load(environ={"LLM_MAX_TOKENS": "64"}).notes == ("LLM_MAX_TOKENS=64 sets llm_max_tokens=64",)


@pytest.mark.parametrize("empty", ["", " ", '""', "''"])
def test_an_empty_foreign_value_is_unset_as_in_compose_files(empty):
    effective = load(service="ranking", environ=dict.fromkeys(NAMES, empty))
    assert effective.settings == Settings()
    assert effective.notes == ()

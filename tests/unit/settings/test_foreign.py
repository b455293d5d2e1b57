from pathlib import Path

import pytest

from ullage.errors import SettingsError
from ullage.settings import Settings, load
from ullage.settings.names import NAMES, table
from ullage.settings.names_nim import VENDOR_ONNX

CONTRACT = (Path(__file__).parent / "contract_names.txt").read_text(encoding="utf-8").split()
DOCUMENT = Path(__file__).parents[3] / "docs" / "settings-names.md"


@pytest.mark.parametrize(
    ("name", "value", "setting", "expected"),
    [
        ("NIM_HTTP_API_PORT", "8000", "ranking_port", 8000),
        ("NIM_CACHE_PATH", "/models", "cache_dir", "/models"),
        ("NIM_LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("NIM_JSONL_LOGGING", "1", "log_format", "json"),
        ("NIM_LOGGING_JSONL", "false", "log_format", "pretty"),
        ("NIM_SERVER_BIND_ADDR", "0.0.0.0:8000", "host", "0.0.0.0"),
        ("NIM_SERVER_BIND_ADDR", "0.0.0.0:8000", "ranking_port", 8000),
        ("NIM_BIND_ADDR", "[::]:8000", "host", "::"),
        ("NIM_REQUEST_TIMEOUT_S", "60", "request_timeout_s", 60.0),
        ("NIM_SERVER_HTTP_BODY_LIMIT_BYTES", "1048576", "max_body", 1 << 20),
        ("NIM_TRITON_MAX_SEQ_LENGTH", "256", "max_sequence", 256),
        ("APP_VECTORSTORE_URL", "http://milvus:19530", "vectors_uri", "http://milvus:19530"),
        ("APP_RANKING_SERVERURL", "nemotron-ranking-ms:8000", "ranking_url", "http://nemotron-ranking-ms:8000"),
        ("APP_EMBEDDINGS_SERVERURL", "embedding:8000/v1", "embedding_url", "http://embedding:8000"),
        ("APP_LLM_SERVERURL", '"nim-llm:8000"', "llm_url", "http://nim-llm:8000"),
        ("APP_RETRIEVER_TOPK", "4", "rerank_top_k", 4),
        ("APP_NVINGEST_CHUNKSIZE", "300", "chunk_tokens", 300),
        ("APP_NVINGEST_CHUNKOVERLAP", "20", "chunk_overlap", 20),
        ("VECTOR_DB_TOPK", "100", "retrieve_top_k", 100),
        ("ENABLE_RERANKER", "False", "enable_reranker", False),
        ("COLLECTION_NAME", "mine", "collection", "mine"),
        ("LLM_MAX_TOKENS", "64", "llm_max_tokens", 64),
    ],
)
def test_a_foreign_name_takes_effect_and_is_told_as_the_origin(name, value, setting, expected):
    effective = load(service="ranking", environ={name: value})
    found = getattr(effective.settings, setting)
    assert found == type(found)(expected)
    assert effective.origins[setting] == f"env {name}"


@pytest.mark.parametrize("name", CONTRACT)
def test_every_name_of_the_contracts_takes_effect_or_is_held_or_refused(name):
    known = NAMES[name]
    assert known.effect
    for target in known.sets:
        assert target.format(service="ranking") in Settings.model_fields
    if not known.sets:
        assert known.why
        assert known.accepted is None or known.instead


@pytest.mark.parametrize("name", [name for name, known in NAMES.items() if not known.sets])
def test_a_name_without_effect_is_noted_or_refused_and_never_passed_over(name):
    known = NAMES[name]
    for value in {"something else", *(known.accepted or ())} - {""}:
        if known.accepted is None or value in known.accepted:
            effective = load(service="ranking", environ={name: value})
            assert effective.settings == Settings()
            [note] = effective.notes
            assert note.startswith(f"{name}=")
            assert note.endswith(known.why)
        else:
            with pytest.raises(SettingsError) as refusal:
                load(service="ranking", environ={name: value})
            assert refusal.value.message.startswith(f"{name}=")
            assert refusal.value.message.endswith(known.instead)


def test_the_table_in_the_documents_is_this_one():
    assert table() in DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"NIM_MODEL_PROFILE": "a100x1-trt-fp16-dxtbz8wstg"}, "a100x1-trt-fp16-dxtbz8wstg is refused"),
        ({"NIM_MODEL_PROFILE": "profile_0"}, "NIM_PROFILE_INDEX=0"),
        ({"NIM_BACKENDS": "tensorrt"}, "TensorRT and Triton are never used"),
        ({"NIM_PRECISION": "fp4"}, "write auto, fp32, bf16"),
        ({"OMP_NUM_THREADS": "many"}, "write a number of threads"),
        ({"NIM_TRITON_DYNAMIC_BATCHING_MAX_QUEUE_DELAY_MICROSECONDS": "1.5"}, "write whole microseconds"),
        ({"ENABLE_RERANKER": "perhaps"}, "write true or false"),
        ({"NIM_DISABLE_TRTT": "1"}, "did you mean NIM_DISABLE_TRT?"),
        ({"NIM_ENGINE_COUNT": "99"}, "instances='99' (from env NIM_ENGINE_COUNT)"),
        ({"NIM_MODEL_PROFILE": "0", "NIM_PROFILE_INDEX": "1"}, "contradicts"),
    ],
)
def test_what_is_wrong_is_named_with_what_would_be_right(environ, said):
    with pytest.raises(SettingsError) as refusal:
        load(service="ranking", environ=environ)
    assert said in refusal.value.message


def test_all_faults_are_told_at_once():
    environ = {"NIM_MODEL_PROFILE": "profile_0", "NIM_BACKENDS": "tensorrt", "NIM_NOT_A_NAME": "1",
               "ULLAGE_RANKING_PORT": "70000", "NIM_SERVER_TLS_CERT_PATH": "/cert.pem"}
    with pytest.raises(SettingsError) as refusal:
        load(service="ranking", environ=environ)
    assert all(name in refusal.value.message for name in (
        "NIM_MODEL_PROFILE", "NIM_BACKENDS", "NIM_NOT_A_NAME", "ranking_port", "NIM_SERVER_TLS_CERT_PATH"))
    assert "\n" not in refusal.value.message


@pytest.mark.parametrize(
    ("environ", "setting", "expected"),
    [
        ({"NIM_MAX_BATCH_SIZE": "8"}, "max_batch_rows", 8),
        ({"NIM_MAX_INPUT_LENGTH": "2048"}, "max_sequence", 2048),
        ({"NIM_PROFILE_INDEX": "0"}, "ranking_profile", "0"),
        ({"NIM_MODEL_PROFILE": "A" * 64}, "ranking_profile", "a" * 64),
        ({"NIM_MODEL_PROFILE": VENDOR_ONNX[0]}, "ranking_profile", None),
        ({"NIM_CPU_ONLY": "1"}, "ranking_device", "cpu"),
        ({"NIM_PRECISION": "FP8"}, "precision", "fp8"),
        ({"OMP_NUM_THREADS": "4,2"}, "threads", 4),
        ({"NIM_TRITON_DYNAMIC_BATCHING_MAX_QUEUE_DELAY_MICROSECONDS": "1500"}, "batch_wait_ms", 1.5),
        ({"NIM_SERVED_MODEL_NAME": "mine"}, "ranking_served_name", "mine"),
        ({"RUST_LOG": "debug"}, "log_level", "DEBUG"),
        ({"RUST_LOG": "hyper=trace"}, "log_level", "INFO"),
        ({"LOG_FORMAT": "compact"}, "log_format", "pretty"),
    ],
)
def test_more_names_take_effect_and_are_noted(environ, setting, expected):
    effective = load(service="ranking", environ=environ)
    assert getattr(effective.settings, setting) == expected
    assert effective.notes


def test_a_name_for_one_service_is_refused_where_several_are_meant():
    with pytest.raises(SettingsError, match=r"set ULLAGE_VECTORS_PORT or ULLAGE_RANKING_PORT or"):
        load(environ={"NIM_HTTP_API_PORT": "8000"})
    with pytest.raises(SettingsError, match="NIM_PROFILE_INDEX=0 means nothing to rag"):
        load(service="rag", environ={"NIM_PROFILE_INDEX": "0"})


def test_our_own_name_wins_and_says_so():
    effective = load(service="ranking", environ={"NIM_MAX_INPUT_LENGTH": "256", "ULLAGE_MAX_SEQUENCE": "128"})
    assert effective.settings.max_sequence == 128
    assert "NIM_MAX_INPUT_LENGTH=256 gives way to ULLAGE_MAX_SEQUENCE=128" in effective.notes


def test_a_secret_is_never_shown():
    effective = load(environ={"NGC_API_KEY": "nvapi-secret"})
    assert "nvapi-secret" not in " ".join(effective.notes)


def test_a_name_that_speaks_to_one_service_sets_that_one_alone():
    settings = load(service="embedding", environ={"NIM_HTTP_API_PORT": "8000"}).settings
    assert (settings.embedding_port, settings.ranking_port) == (8000, 1976)


def test_an_empty_foreign_value_is_unset_as_in_compose_files():
    environ = dict.fromkeys(NAMES, "")
    assert load(service="ranking", environ=environ).settings == Settings()


def test_a_foreign_value_out_of_range_is_told_by_its_own_name():
    with pytest.raises(SettingsError, match=r"rerank_top_k='99' \(from env APP_RETRIEVER_TOPK\)"):
        load(environ={"APP_RETRIEVER_TOPK": "99"})

import pytest

from ullage.errors import SettingsError
from ullage.settings import Settings, load
from ullage.settings.foreign import FOREIGN


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


def test_every_foreign_name_leads_to_a_setting_that_exists():
    for pairs in FOREIGN.values():
        for foreign in pairs:
            assert foreign.target.format(service="ranking") in Settings.model_fields


def test_a_name_that_speaks_to_one_service_sets_that_one_alone():
    settings = load(service="embedding", environ={"NIM_HTTP_API_PORT": "8000"}).settings
    assert (settings.embedding_port, settings.ranking_port) == (8000, 1976)


def test_an_empty_foreign_value_is_unset_as_in_compose_files():
    environ = dict.fromkeys(FOREIGN, "")
    assert load(service="ranking", environ=environ).settings == Settings()


def test_a_foreign_value_out_of_range_is_told_by_its_own_name():
    with pytest.raises(SettingsError, match=r"rerank_top_k='99' \(from env APP_RETRIEVER_TOPK\)"):
        load(environ={"APP_RETRIEVER_TOPK": "99"})

"""Every conversion by a value that it understands and one that it does not."""

import pytest

from ullage.errors import SettingsError
from ullage.settings import load
from ullage.settings.names import NAMES

HASH = "0123456789abcdef" * 4

CASES = [
    ("NIM_PROFILE_INDEX", "2", "ranking_profile", "2", "profile_2"),
    ("NIM_MAX_BATCH_SIZE", "8", "max_batch_rows", 8, "0"),
    ("NIM_MAX_INPUT_LENGTH", "2048", "max_sequence", 2048, "long"),
    ("RETRIEVER_USE_RERANKER", "false", "enable_reranker", False, "perhaps"),
    ("RERANKER_TOPK", "5", "rerank_top_k", 5, "26"),
    ("NIM_CACHE_PATH", "/models", "cache_dir", "/models", "~nobody-of-that-name/x"),
    ("NIM_HTTP_API_PORT", "8000", "ranking_port", 8000, "http"),
    ("NIM_GRPC_API_PORT", "50051", "ranking_grpc_port", 50051, "grpc"),
    ("NIM_JSONL_LOGGING", "1", "log_format", "json", "json"),
    ("NIM_LOGGING_JSONL", "false", "log_format", "pretty", "2"),
    ("NIM_LOG_LEVEL", "debug", "log_level", "DEBUG", "loud"),
    ("NIM_MODEL_PROFILE", HASH.upper(), "ranking_profile", HASH, HASH[1:]),
    ("NIM_NUM_MODEL_INSTANCES", "2", "instances", 2, "17"),
    ("NIM_SERVED_MODEL_NAME", "mine", "ranking_served_name", "mine", "x" * 129),
    ("NIM_CPU_ONLY", "1", "ranking_device", "cpu", "perhaps"),
    ("NIM_TRITON_MAX_BATCH_SIZE", "30", "max_batch_rows", 30, "-1"),
    ("NIM_TRITON_MAX_SEQ_LENGTH", "256", "max_sequence", 256, "1"),
    ("NIM_TRITON_DYNAMIC_BATCHING_MAX_QUEUE_DELAY_MICROSECONDS", "1500", "batch_wait_ms", 1.5, "1.5"),
    ("NIM_TRITON_MAX_QUEUE_SIZE", "64", "queue_requests", 64, "0"),
    ("NIM_TRITION_MAX_QUEUE_SIZE", "64", "queue_requests", 64, "0"),
    ("OMP_NUM_THREADS", "4,2", "threads", 4, "many"),
    ("LOG_FORMAT", "compact", "log_format", "pretty", None),
    ("RUST_LOG", "hyper=trace, Warn", "log_level", "WARNING", None),
    ("NIM_BIND_ADDR", "[::]:8000", "host", "::", "8000"),
    ("NIM_SERVER_BIND_ADDR", "0.0.0.0:8000", "ranking_port", 8000, "0.0.0.0:http"),
    ("NIM_GRPC_BIND_ADDR", "[::]:8001", "host", "::", "8001"),
    ("NIM_SERVER_GRPC_BIND_ADDR", "0.0.0.0:8001", "ranking_grpc_port", 8001, "0.0.0.0:grpc"),
    ("NIM_GRPC_MAX_DECODING_MESSAGE_BYTES", "1048576", "max_body", 1 << 20, "big"),
    ("NIM_SERVER_GRPC_MAX_DECODING_MESSAGE_BYTES", "1048576", "max_body", 1 << 20, "big"),
    ("NIM_TLS_CERT_PATH", "/tls/cert.pem", "tls_cert", "/tls/cert.pem", "~nobody-of-that-name/x"),
    ("NIM_TLS_KEY_PATH", "/tls/key.pem", "tls_key", "/tls/key.pem", "~nobody-of-that-name/x"),
    ("NIM_SERVER_TLS_CERT_PATH", "/tls/cert.pem", "tls_cert", "/tls/cert.pem", "~nobody-of-that-name/x"),
    ("NIM_SERVER_TLS_KEY_PATH", "/tls/key.pem", "tls_key", "/tls/key.pem", "~nobody-of-that-name/x"),
    ("NIM_MAX_QUEUE_SIZE", "64", "queue_requests", 64, "full"),
    ("NIM_SERVER_MAX_QUEUE_SIZE", "64", "queue_requests", 64, "full"),
    ("NIM_REQUEST_TIMEOUT_S", "60", "request_timeout_s", 60.0, "0"),
    ("NIM_SERVER_REQUEST_TIMEOUT_S", "60", "request_timeout_s", 60.0, "inf"),
    ("NIM_SERVER_SERVED_MODEL_NAME", "mine", "ranking_served_name", "mine", "x" * 129),
    ("NIM_ENGINE_COUNT", "2", "instances", 2, "0"),
    ("NIM_PIPELINE_MAX_BATCH_SIZE", "32", "max_batch_rows", 32, "none"),
    ("NIM_PRECISION", "FP8", "precision", "fp8", "fp4"),
    ("NIM_ENGINE_PRECISION", "fp16", "precision", "fp16", "half"),
    ("NIM_MODEL_NAME", "nvidia/one", "ranking_model", "nvidia/one", None),
    ("NIM_ENGINE_MODEL_NAME", "nvidia/one", "ranking_model", "nvidia/one", None),
    ("NIM_ENGINE_MODEL_PATH", "/models/one", "ranking_model", "/models/one", None),
    ("NIM_SERVER_MAX_WAIT_MS", "10", "batch_wait_ms", 10.0, "1001"),
    ("NIM_SERVER_HTTP_BODY_LIMIT_BYTES", "1048576", "max_body", 1 << 20, "big"),
    ("APP_VECTORSTORE_URL", "milvus:19530", "vectors_uri", "http://milvus:19530", "http://"),
    ("COLLECTION_NAME", "mine", "collection", "mine", "not-mine"),
    ("VECTOR_DB_TOPK", "100", "retrieve_top_k", 100, "401"),
    ("APP_RETRIEVER_TOPK", "4", "rerank_top_k", 4, "99"),
    ("ENABLE_RERANKER", "False", "enable_reranker", False, "perhaps"),
    ("APP_RANKING_MODELNAME", "nvidia/one", "ranking_model", "nvidia/one", None),
    ("APP_RANKING_SERVERURL", "nemotron-ranking-ms:8000", "ranking_url", "http://nemotron-ranking-ms:8000", "ftp://x"),
    ("APP_EMBEDDINGS_MODELNAME", "nvidia/two", "embedding_model", "nvidia/two", None),
    ("APP_EMBEDDINGS_SERVERURL", "embedding:8000/v1", "embedding_url", "http://embedding:8000", "a b:1"),
    ("APP_LLM_MODELNAME", "nvidia/three", "llm_model", "nvidia/three", None),
    ("APP_LLM_SERVERURL", '"https://nim-llm"', "llm_url", "https://nim-llm", "nim-llm:http"),
    ("SUMMARY_LLM", "nvidia/three", "summary_llm_model", "nvidia/three", None),
    ("SUMMARY_LLM_SERVERURL", "nim-llm:8000", "summary_llm_url", "http://nim-llm:8000", "a b:1"),
    ("OBJECTSTORE_LOCAL_PATH", "/srv/objects", "objects_uri", "/srv/objects", None),
    ("LLM_MAX_TOKENS", "64", "llm_max_tokens", 64, "0"),
    ("APP_NVINGEST_CHUNKSIZE", "300", "chunk_tokens", 300, "9000"),
    ("APP_NVINGEST_CHUNKOVERLAP", "20", "chunk_overlap", 20, "-1"),
    ("APP_NVINGEST_CAPTIONMODELNAME", "nvidia/eyes", "caption_model", "nvidia/eyes", "x" * 257),
    ("LOGLEVEL", "warn", "log_level", "WARNING", None),
    ("APP_VECTORSTORE_SEARCHTYPE", "dense", "search_type", "dense", "sparse"),
    ("APP_VECTORSTORE_RANKER_TYPE", "weighted", "search_fusion", "weighted", "best"),
    ("APP_VECTORSTORE_DENSE_WEIGHT", "0.7", "dense_weight", 0.7, "7"),
    ("APP_VECTORSTORE_SPARSE_WEIGHT", "0.3", "sparse_weight", 0.3, "-1"),
    ("APP_FETCH_FULL_PAGE_CONTEXT", "true", "full_page_context", True, "perhaps"),
    ("RERANKER_SCORE_THRESHOLD", "0.4", "confidence_threshold", 0.4, "4"),
    ("RERANKER_CONFIDENCE_THRESHOLD", "0.4", "confidence_threshold", 0.4, "high"),
    ("ENABLE_FILTER_GENERATOR", "true", "enable_filter_generator", True, "perhaps"),
    ("APP_METADATA_ALLOWPARTIALFILTERING", "true", "partial_filters", True, "perhaps"),
    ("LLM_TEMPERATURE", "0.2", "llm_temperature", 0.2, "hot"),
    ("LLM_TOP_P", "0.9", "llm_top_p", 0.9, "0"),
    ("ENABLE_QUERYREWRITER", "false", "enable_query_rewriting", False, "perhaps"),
    ("CONVERSATION_HISTORY", "0", "conversation_turns", 0, "-1"),
    ("ENABLE_CITATIONS", "false", "enable_citations", False, "perhaps"),
    ("NEMO_GUARDRAILS_URL", "guardrails:7331", "guardrails_url", "http://guardrails:7331", "a b:1"),
    ("ENABLE_REFLECTION", "true", "enable_reflection", True, "perhaps"),
    ("MAX_REFLECTION_LOOP", "2", "reflection_loops", 2, "0"),
    ("CONTEXT_RELEVANCE_THRESHOLD", "2", "relevance_threshold", 2, "3"),
    ("RESPONSE_GROUNDEDNESS_THRESHOLD", "0", "groundedness_threshold", 0, "-1"),
    ("REFLECTION_LLM", "nvidia/three", "reflection_llm_model", "nvidia/three", None),
    ("REFLECTION_LLM_SERVERURL", "nim-llm:8000", "reflection_llm_url", "http://nim-llm:8000", "a b:1"),
    ("ENABLE_QUERY_DECOMPOSITION", "true", "enable_query_decomposition", True, "perhaps"),
    ("MAX_RECURSION_DEPTH", "2", "decomposition_depth", 2, "9"),
    ("VLM_TO_LLM_FALLBACK", "false", "vlm_to_llm_fallback", False, "perhaps"),
    ("APP_VLM_MODELNAME", "nvidia/eyes", "vlm_model", "nvidia/eyes", "x" * 257),
    ("APP_VLM_SERVERURL", "vlm-ms:8000/v1", "vlm_url", "http://vlm-ms:8000", "a b:1"),
    ("APP_VLM_TEMPERATURE", "0.6", "vlm_temperature", 0.6, "2"),
    ("APP_VLM_TOP_P", "0.95", "vlm_top_p", 0.95, "0"),
    ("APP_VLM_MAX_TOKENS", "4096", "vlm_max_tokens", 4096, "0"),
    ("APP_VLM_MAX_TOTAL_IMAGES", "3", "vlm_max_images", 3, "65"),
]
"""(name, value, setting, what it becomes, a value that is refused: None where any text is one)."""


KEYS = {"APP_RANKING_APIKEY": "ranking_api_key", "APP_EMBEDDINGS_APIKEY": "embedding_api_key",
        "APP_LLM_APIKEY": "llm_api_key", "APP_VLM_APIKEY": "vlm_api_key"}
TOGETHER = {
    "APP_FETCH_NEIGHBORING_PAGES": ("2", "neighbour_pages", {"APP_FETCH_FULL_PAGE_CONTEXT": "true"}),
    "ENABLE_GUARDRAILS": ("true", "enable_guardrails", {"NEMO_GUARDRAILS_URL": "guardrails:7331"}),
    "ENABLE_VLM_INFERENCE": ("true", "enable_vlm_inference", {"APP_VLM_SERVERURL": "vlm-ms:8000"}),
    "APP_NVINGEST_CAPTIONENDPOINTURL": ("vlm-ms:8000", "caption_url", {"ULLAGE_VISION_URL": "http://pages:8000"}),
}
"""Names that hold only with another, and that other."""


def test_every_name_that_sets_something_is_tried_here():
    tried = {case[0] for case in CASES} | KEYS.keys() | TOGETHER.keys()
    assert tried == {name for name, known in NAMES.items() if known.sets}


@pytest.mark.parametrize(("name", "setting"), KEYS.items())
def test_a_key_is_set_and_never_told(name, setting):
    effective = load(environ={name: "nvapi-secret"})
    assert getattr(effective.settings, setting).get_secret_value() == "nvapi-secret"
    assert effective.notes == (f"{name}=(not shown) sets {setting}=(not shown)",)


@pytest.mark.parametrize("name", TOGETHER)
def test_a_name_that_needs_another_is_refused_without_it(name):
    value, setting, other = TOGETHER[name]
    assert getattr(load(environ={name: value, **other}).settings, setting)
    with pytest.raises(SettingsError, match=f"{setting}.* needs "):
        load(environ={name: value})


@pytest.mark.parametrize(("name", "value", "setting", "expected", "_"), CASES, ids=[case[0] for case in CASES])
def test_a_value_takes_effect_and_its_name_is_told_as_the_origin(name, value, setting, expected, _):
    effective = load(service="ranking", environ={name: value})
    found = getattr(effective.settings, setting)
    assert found == type(found)(expected)
    assert effective.origins[setting] == f"env {name}"
    assert effective.foreign[setting] == name
    assert [note.startswith(f"{name}=") for note in effective.notes] == [True]
    assert f" {setting}=" in effective.notes[0]


@pytest.mark.parametrize(("name", "bad"), [(case[0], case[4]) for case in CASES if case[4] is not None])
def test_a_value_that_is_not_understood_is_refused_with_its_name(name, bad):
    with pytest.raises(SettingsError) as refusal:
        load(service="ranking", environ={name: bad})
    said = refusal.value.message
    assert said.startswith(f"{name}={bad} is refused: ") or f"(from env {name}): " in said
    assert bad[:90] in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NIM_MODEL_PROFILE", "auto"),
        ("NIM_MODEL_PROFILE", "f7391ddbcb95b2406853526b8e489fedf20083a2420563ca3e65358ff417b10f"),
        ("NIM_MODEL_PROFILE", "e28f17c9c13a99055d065f88d725bf93c23b3aab14acd68f16323de1353fc528"),
        ("NIM_CPU_ONLY", "0"),
        ("RUST_LOG", "hyper=trace"),
        ("LOG_FORMAT", "%(message)s"),
        ("LOGLEVEL", "notice"),
    ],
)
def test_a_value_that_asks_for_nothing_sets_nothing_and_is_noted_with_the_reason(name, value):
    effective = load(environ={name: value})
    assert set(effective.origins.values()) == {"default"}
    assert effective.notes == (f"{name}={value} sets nothing: {NAMES[name].why}",)


def test_a_bind_address_without_a_host_sets_the_port_alone():
    effective = load(service="embedding", environ={"NIM_BIND_ADDR": ":8000"})
    assert effective.settings.embedding_port == 8000
    assert effective.origins["host"] == "default"


@pytest.mark.parametrize("profile", ["cpu-int8-t4096-s512", "cuda-bf16-t16384-s8192", "cuda-fp8-hostembed-t128-s64-i2"])
def test_our_own_profile_ids_are_profiles_by_the_vendors_name_too(profile):
    assert load(service="ranking", environ={"NIM_MODEL_PROFILE": profile}).settings.ranking_profile == profile

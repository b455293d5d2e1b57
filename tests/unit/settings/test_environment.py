import pytest

from ullage.errors import SettingsError
from ullage.settings import Settings, load


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("ULLAGE_RANKIN_PORT", "ULLAGE_RANKING_PORT"),
        ("ULLAGE_memory", "ULLAGE_MEMORY"),
        ("NIM_CACHE_DIR", "NIM_CACHE_PATH"),
        ("NIM_DISABLE_TRTT", "NIM_DISABLE_TRT"),
        ("APP_RETRIEVER_TOP_K", "APP_RETRIEVER_TOPK"),
        ("ENABLE_RERANK", "ENABLE_RERANKER"),
        ("ENABLE_RERANKING", "ENABLE_RERANKER"),
        ("ENABLE_QUERY_REWRITER", "ENABLE_QUERYREWRITER"),
        ("ENABLE_CITATION", "ENABLE_CITATIONS"),
        ("ENABLE_REFLECTIONS", "ENABLE_REFLECTION"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name, nearest):
    with pytest.raises(SettingsError) as refused:
        load(environ={name: "1"})
    assert refused.value.message == f"unknown setting {name} in the environment: did you mean {nearest}?"


@pytest.mark.parametrize("name", ["ENABLE_METRICS", "ENABLE_DEBUG", "ENABLE_SELECTION", "ENABLE_REDIS_CACHE",
                                  "ENABLE_COLLECTION", "ENABLE_INFERENCE", "ENABLE_", "NIMBLE", "APPLE", "APP", "PATH",
                                  "MY_ULLAGE_X", "RERANKER", "VECTOR_DB"])
def test_names_of_others_are_no_business_of_ours(name):
    effective = load(environ={name: "1"})
    assert effective.settings == Settings()
    assert effective.notes == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [("OMP_NUM_THREADS", "4,2"), ("CUDA_VISIBLE_DEVICES", "MIG-1234"), ("NVIDIA_VISIBLE_DEVICES", "void"),
     ("HF_TOKEN", "hf_x"), ("RUST_LOG", "hyper=debug,tower=warn"), ("LOG_FORMAT", "%(asctime)s"),
     ("LOGLEVEL", "notice"), ("OTEL_SERVICE_NAME", "other"), ("OTEL_TRACES_EXPORTER", "otlp"), ("TEMP_DIR", "/var/tmp"),
     ("USERID", "1000"), ("REDIS_HOST", "cache"), ("NVIDIA_API_KEY", "nvapi-x")],
)
def test_what_an_ordinary_machine_has_set_never_stops_a_start(name, value):
    own = {"ULLAGE_THREADS": "3", "ULLAGE_LOG_LEVEL": "ERROR", "ULLAGE_LOG_FORMAT": "pretty"}
    for environ in ({}, own):
        for service in (None, "ranking", "rag", "llm"):
            assert len(load(service=service, environ={**environ, name: value}).notes) == 1


def test_a_shared_name_gives_way_and_says_so():
    effective = load(environ={"OMP_NUM_THREADS": "4", "ULLAGE_THREADS": "3"})
    assert effective.settings.threads == 3
    assert effective.notes == ("OMP_NUM_THREADS=4 gives way to threads=3 (env ULLAGE_THREADS)",)
    effective = load(environ={"RUST_LOG": "debug", "LOGLEVEL": "error", "NIM_LOG_LEVEL": "WARNING"})
    assert effective.settings.log_level == "WARNING"
    assert effective.foreign == {"log_level": "NIM_LOG_LEVEL"}
    assert "RUST_LOG=debug gives way to log_level=WARNING (env NIM_LOG_LEVEL)" in effective.notes

"""Environment of the retriever NIMs, both generations, and the names of the incident that never existed."""

from __future__ import annotations

import re

from ullage.settings.foreign import (
    FALSE,
    TRUE,
    Name,
    absent,
    cpu_if_true,
    first_number,
    holds,
    host_of,
    log_format,
    microseconds,
    only,
    port_of,
    refused,
    sets,
    upper,
)

VENDOR_ONNX = (
    "f7391ddbcb95b2406853526b8e489fedf20083a2420563ca3e65358ff417b10f",
    "e28f17c9c13a99055d065f88d725bf93c23b3aab14acd68f16323de1353fc528",
)
"""The vendor's ONNX profiles of the rerankers and of the embedder, the known way around TensorRT."""

_PROFILE = re.compile(r"[0-9a-f]{64}|(cpu|cuda)-[a-z0-9_]+(-hostembed)?-t\d+-s\d+(-i\d+)?|\d{1,3}")
_NO_TRITON = "no Triton runs here"
_NO_TRT = "no TensorRT is used: there are no engine plans and no optimization profiles"
_NO_OTEL = "plays a part only with telemetry, which is off"


def profile(value: str) -> str:
    """A profile as the operator names it. The vendor's ONNX ids and `auto` ask for nothing that is not so here."""
    text = value.lower()
    if text in (*VENDOR_ONNX, "auto", "default"):
        return ""
    if _PROFILE.fullmatch(text):
        return text
    if number := re.fullmatch(r"profile_(\d+)", text):
        raise ValueError("this is no profile id: `ullage list-model-profiles` lists them, and NIM_PROFILE_INDEX="
                         f"{number[1]} or ULLAGE_RANKING_PROFILE={number[1]} picks by number")
    raise ValueError("this is no profile id (a folder of an engine cache is none): leave it out, or take an id from "
                     "`ullage list-model-profiles`")


def precision(value: str) -> str:
    if value.lower() not in ("auto", "fp32", "fp16", "bf16", "fp8", "int8"):
        raise ValueError("write auto, fp32, bf16, fp16, fp8 or int8")
    return value.lower()


def rust_level(value: str) -> str:
    """A plain level; a filter by module has no counterpart and leaves the level alone."""
    return value.upper() if value.lower() in ("debug", "info", "warning", "error", "critical") else ""


INCIDENT = (
    only("NIM_DISABLE_TRT", (*TRUE, *FALSE), _NO_TRT, "write 1 or 0; TensorRT is never used"),
    only("NIM_FORCE_PYTHON", (*TRUE, *FALSE), _NO_TRT, "write 1 or 0; no engine plan is ever used"),
    only("NIM_BACKENDS", ("python", "pytorch", "onnx"), _NO_TRT, "write python; TensorRT and Triton are never used"),
    sets("NIM_PROFILE_INDEX", "{service}_profile", profile),
    sets("NIM_MAX_BATCH_SIZE", "max_batch_rows"),
    sets("NIM_MAX_INPUT_LENGTH", "max_sequence"),
    sets("RETRIEVER_USE_RERANKER", "enable_reranker"),
)

NIM_1X = (
    holds("RERANKER_NIM_ENDPOINT", "read by the vendor's client alone"),
    holds("NGC_API_KEY", "nothing is fetched from the vendor's registry"),
    sets("NIM_CACHE_PATH", "cache_dir"),
    sets("NIM_HTTP_API_PORT", "{service}_port"),
    holds("NIM_HTTP_MAX_WORKERS", "one process answers all connections"),
    holds("NIM_HTTP_TRITON_PORT", _NO_TRITON),
    refused("NIM_GRPC_API_PORT", "no gRPC", "gRPC is not served yet; leave it out and use HTTP"),
    holds("NIM_IGNORE_MODEL_DOWNLOAD_FAIL", "nothing is downloaded at start"),
    sets("NIM_JSONL_LOGGING", "log_format", log_format),
    sets("NIM_LOGGING_JSONL", "log_format", log_format),
    sets("NIM_LOG_LEVEL", "log_level", upper),
    only("NIM_MANIFEST_ALLOW_UNSAFE", FALSE, "only listed profiles run", "a profile that is not listed never runs"),
    sets("NIM_MODEL_PROFILE", "{service}_profile", profile),
    sets("NIM_NUM_MODEL_INSTANCES", "instances"),
    holds("NIM_NUM_TOKENIZERS", "a request's texts are tokenized in one call on all cores"),
    sets("NIM_SERVED_MODEL_NAME", "{service}_served_name"),
    refused("NIM_REPOSITORY_OVERRIDE", "no mirror", "there is no mirror; give ULLAGE_RANKING_MODEL a folder"),
    sets("NIM_CPU_ONLY", "{service}_device", cpu_if_true),
    sets("NIM_TRITON_MAX_BATCH_SIZE", "max_batch_rows"),
    sets("NIM_TRITON_MAX_SEQ_LENGTH", "max_sequence"),
    sets("NIM_TRITON_DYNAMIC_BATCHING_MAX_QUEUE_DELAY_MICROSECONDS", "batch_wait_ms", microseconds),
    only("NIM_TRITON_PERFORMANCE_MODE", ("latency",), "batches are run as soon as they are there",
         "write latency; for throughput raise ULLAGE_BATCH_WAIT_MS"),
    sets("NIM_TRITON_MAX_QUEUE_SIZE", "queue_requests"),
    sets("NIM_TRITION_MAX_QUEUE_SIZE", "queue_requests"),
    holds("NIM_TRITON_LOG_VERBOSE", _NO_TRITON),
    holds("NIM_TRITON_RATE_LIMIT", _NO_TRITON),
    holds("NIM_TRITON_CUDA_MEMORY_POOL_MB", "the plan states every byte on the GPU; ULLAGE_GPU_MEMORY bounds it"),
    holds("NIM_TRITON_CPU_THREADS_PRE_PROCESSOR", _NO_TRITON),
    holds("NIM_TRITON_CPU_THREADS_POST_PROCESSOR", _NO_TRITON),
    holds("NIM_TRITON_DATA_MAX_BATCH_SIZE", "the largest planned shape is what warms up"),
    holds("NIM_TRITON_GRPC_PORT", _NO_TRITON),
    holds("NIM_TRT_ENGINE_HOST_CODE_ALLOWED", _NO_TRT),
    sets("OMP_NUM_THREADS", "threads", first_number),
    absent("NIM_ENABLE_OTEL", "telemetry"),
    *(holds(f"{prefix}OTEL_{part}", _NO_OTEL) for prefix in ("", "NIM_") for part in (
        "SERVICE_NAME", "EXPORTER_OTLP_ENDPOINT", "METRICS_EXPORTER", "TRACES_EXPORTER", "LOGS_EXPORTER")),
    holds("TRITON_OTEL_URL", _NO_OTEL),
    holds("TRITON_OTEL_RATE", _NO_OTEL),
    holds("NVIDIA_VISIBLE_DEVICES", "read when GPUs are looked for"),
    holds("CUDA_VISIBLE_DEVICES", "read when GPUs are looked for"),
)

_NO_GRPC = ("no gRPC", "gRPC is not served yet; leave it out and use HTTP")
_NO_TLS = ("no TLS", "TLS is not served yet; leave it out and put a proxy in front")

NIM_2X = (
    sets("LOG_FORMAT", "log_format", log_format),
    sets("RUST_LOG", "log_level", rust_level),
    only("SHOW_CONFIG", FALSE, "nothing is printed", "`ullage settings` prints the settings; leave it out"),
    only("NIM_PERFORMANCE_MODE", (*FALSE, "latency"), "defaults stay",
         "set ULLAGE_INSTANCES and ULLAGE_MAX_BATCH_ROWS to what it stands for"),
    *(Name(name, {"host": host_of, "{service}_port": port_of}) for name in ("NIM_BIND_ADDR", "NIM_SERVER_BIND_ADDR")),
    *(refused(name, *_NO_GRPC) for name in (
        "NIM_GRPC_BIND_ADDR", "NIM_SERVER_GRPC_BIND_ADDR", "NIM_GRPC_MAX_DECODING_MESSAGE_BYTES",
        "NIM_SERVER_GRPC_MAX_DECODING_MESSAGE_BYTES")),
    sets("NIM_MAX_QUEUE_SIZE", "queue_requests"),
    sets("NIM_SERVER_MAX_QUEUE_SIZE", "queue_requests"),
    sets("NIM_REQUEST_TIMEOUT_S", "request_timeout_s"),
    sets("NIM_SERVER_REQUEST_TIMEOUT_S", "request_timeout_s"),
    sets("NIM_SERVER_SERVED_MODEL_NAME", "{service}_served_name"),
    *(refused(name, *_NO_TLS) for name in (
        "NIM_TLS_CERT_PATH", "NIM_TLS_KEY_PATH", "NIM_SERVER_TLS_CERT_PATH", "NIM_SERVER_TLS_KEY_PATH")),
    only("NIM_ADMISSION_SIZE", ("0",), "admission counts tokens", "set ULLAGE_QUEUE_TOKENS: admission counts tokens"),
    sets("NIM_ENGINE_COUNT", "instances"),
    sets("NIM_PIPELINE_MAX_BATCH_SIZE", "max_batch_rows"),
    sets("NIM_PRECISION", "precision", precision),
    sets("NIM_ENGINE_PRECISION", "precision", precision),
    *(only(name, ("hf",), "models that are not packaged come from that hub",
           "write hf, or give ULLAGE_RANKING_MODEL a folder")
      for name in ("NIM_MODEL_DOWNLOAD_PROVIDER", "NIM_ENGINE_MODEL_DOWNLOAD_PROVIDER")),
    holds("HF_TOKEN", "read by the hub's own library when a model is pulled"),
    sets("NIM_ENGINE_MODEL_NAME", "{service}_model"),
    sets("NIM_ENGINE_MODEL_PATH", "{service}_model"),
    refused("NIM_ENGINE_MODEL_VARIANT", "one variant a model", "a model has one variant; leave it out"),
    only("NIM_SERVER_MODE", ("latency",), "batches are run as soon as they are there",
         "write latency; for throughput raise ULLAGE_BATCH_WAIT_MS"),
    sets("NIM_SERVER_MAX_WAIT_MS", "batch_wait_ms"),
    sets("NIM_SERVER_HTTP_BODY_LIMIT_BYTES", "max_body"),
    holds("NIM_SERVER_MAX_IMAGE_BYTES", "no model here takes images"),
)

NIM_NAMES: tuple[Name, ...] = (*INCIDENT, *NIM_1X, *NIM_2X)


"""Environment of the retriever NIMs, both generations, and the names of the incident that never existed."""

from __future__ import annotations

from ullage.settings.conversions import (
    FALSE,
    TRUE,
    cpu_if_true,
    first_number,
    flag,
    host_of,
    jsonl,
    level,
    log_format,
    microseconds,
    port_of,
    precision,
    profile_id,
    profile_number,
    rust_level,
)
from ullage.settings.foreign import Name, absent, holds, only, refused, sets

_NO_TRITON = "no Triton runs here"
_NO_TRT = "no TensorRT is used: there are no engine plans and no optimization profiles"
_NO_OTEL = "plays a part only with telemetry, which is off"
_MODES = "a batch takes all that waits: one request alone is run at once, many are run together"
_AT_ONCE = (*TRUE, *FALSE, "latency", "throughput")

INCIDENT = (
    only("NIM_DISABLE_TRT", (*TRUE, *FALSE), _NO_TRT, "write 1 or 0; TensorRT is never used"),
    only("NIM_FORCE_PYTHON", (*TRUE, *FALSE), _NO_TRT, "write 1 or 0; no engine plan is ever used"),
    only("NIM_BACKENDS", ("python", "pytorch", "onnx"), _NO_TRT, "write python; TensorRT and Triton are never used"),
    sets("NIM_PROFILE_INDEX", "{service}_profile", profile_number),
    sets("NIM_MAX_BATCH_SIZE", "max_batch_rows"),
    sets("NIM_MAX_INPUT_LENGTH", "max_sequence"),
    sets("RETRIEVER_USE_RERANKER", "enable_reranker", flag),
    sets("RERANKER_TOPK", "rerank_top_k"),
)

NIM_1X = (
    holds("RERANKER_NIM_ENDPOINT", "read by the vendor's client alone"),
    holds("NGC_API_KEY", "nothing is fetched from the vendor's registry"),
    sets("NIM_CACHE_PATH", "cache_dir"),
    sets("NIM_HTTP_API_PORT", "{service}_port"),
    holds("NIM_HTTP_MAX_WORKERS", "one process answers all connections"),
    holds("NIM_HTTP_TRITON_PORT", _NO_TRITON),
    sets("NIM_GRPC_API_PORT", "{service}_grpc_port"),
    holds("NIM_IGNORE_MODEL_DOWNLOAD_FAIL", "nothing is downloaded at start"),
    sets("NIM_JSONL_LOGGING", "log_format", jsonl),
    sets("NIM_LOGGING_JSONL", "log_format", jsonl),
    sets("NIM_LOG_LEVEL", "log_level", level),
    only("NIM_MANIFEST_ALLOW_UNSAFE", FALSE, "only listed profiles run", "write 0: no other profile ever runs"),
    sets("NIM_MODEL_PROFILE", "{service}_profile", profile_id,
         why="no TensorRT engine is used, ullage chooses among its own profiles"),
    sets("NIM_NUM_MODEL_INSTANCES", "instances"),
    holds("NIM_NUM_TOKENIZERS", "a request's texts are tokenized in one call on all cores"),
    sets("NIM_SERVED_MODEL_NAME", "{service}_served_name"),
    refused("NIM_REPOSITORY_OVERRIDE", "there is no mirror; give ULLAGE_RANKING_MODEL a folder"),
    sets("NIM_CPU_ONLY", "{service}_device", cpu_if_true, why="false asks for nothing"),
    sets("NIM_TRITON_MAX_BATCH_SIZE", "max_batch_rows"),
    sets("NIM_TRITON_MAX_SEQ_LENGTH", "max_sequence"),
    sets("NIM_TRITON_DYNAMIC_BATCHING_MAX_QUEUE_DELAY_MICROSECONDS", "batch_wait_ms", microseconds),
    only("NIM_TRITON_PERFORMANCE_MODE", ("latency", "throughput"), _MODES, "write latency or throughput"),
    sets("NIM_TRITON_MAX_QUEUE_SIZE", "queue_requests"),
    sets("NIM_TRITION_MAX_QUEUE_SIZE", "queue_requests"),
    holds("NIM_TRITON_LOG_VERBOSE", _NO_TRITON),
    holds("NIM_TRITON_RATE_LIMIT", _NO_TRITON),
    holds("NIM_TRITON_CUDA_MEMORY_POOL_MB",
          "no such pool is kept: every byte on the GPU is in the plan, and ULLAGE_GPU_MEMORY bounds it"),
    holds("NIM_TRITON_CPU_THREADS_PRE_PROCESSOR", _NO_TRITON),
    holds("NIM_TRITON_CPU_THREADS_POST_PROCESSOR", _NO_TRITON),
    holds("NIM_TRITON_DATA_MAX_BATCH_SIZE", "the warm-up runs inside the plan, and takes no memory that is not in it"),
    holds("NIM_TRITON_GRPC_PORT", _NO_TRITON),
    holds("NIM_TRT_ENGINE_HOST_CODE_ALLOWED", _NO_TRT),
    sets("OMP_NUM_THREADS", "threads", first_number, shared=True),
    absent("NIM_ENABLE_OTEL", "telemetry"),
    *(holds(f"{prefix}OTEL_{part}", _NO_OTEL) for prefix in ("", "NIM_") for part in (
        "SERVICE_NAME", "EXPORTER_OTLP_ENDPOINT", "METRICS_EXPORTER", "TRACES_EXPORTER", "LOGS_EXPORTER")),
    holds("TRITON_OTEL_URL", _NO_OTEL),
    holds("TRITON_OTEL_RATE", _NO_OTEL),
    holds("NVIDIA_VISIBLE_DEVICES", "read when GPUs are looked for"),
    holds("CUDA_VISIBLE_DEVICES", "read when GPUs are looked for"),
)

NIM_2X = (
    sets("LOG_FORMAT", "log_format", log_format, why="this is no format of ours", shared=True),
    sets("RUST_LOG", "log_level", rust_level, why="filters by module have no counterpart", shared=True),
    only("SHOW_CONFIG", FALSE, "nothing is printed", "write 0: `ullage settings` prints the settings"),
    only("NIM_PERFORMANCE_MODE", _AT_ONCE, f"{_MODES}; for several engines set NIM_ENGINE_COUNT", "write 0 or 1"),
    *(Name(name, {"host": host_of, "{service}_port": port_of}) for name in ("NIM_BIND_ADDR", "NIM_SERVER_BIND_ADDR")),
    *(Name(name, {"host": host_of, "{service}_grpc_port": port_of}) for name in (
        "NIM_GRPC_BIND_ADDR", "NIM_SERVER_GRPC_BIND_ADDR")),
    *(sets(name, "max_body") for name in (
        "NIM_GRPC_MAX_DECODING_MESSAGE_BYTES", "NIM_SERVER_GRPC_MAX_DECODING_MESSAGE_BYTES")),
    sets("NIM_MAX_QUEUE_SIZE", "queue_requests"),
    sets("NIM_SERVER_MAX_QUEUE_SIZE", "queue_requests"),
    sets("NIM_REQUEST_TIMEOUT_S", "request_timeout_s"),
    sets("NIM_SERVER_REQUEST_TIMEOUT_S", "request_timeout_s"),
    sets("NIM_SERVER_SERVED_MODEL_NAME", "{service}_served_name"),
    *(sets(name, "tls_cert") for name in ("NIM_TLS_CERT_PATH", "NIM_SERVER_TLS_CERT_PATH")),
    *(sets(name, "tls_key") for name in ("NIM_TLS_KEY_PATH", "NIM_SERVER_TLS_KEY_PATH")),
    only("NIM_ADMISSION_SIZE", ("0",), "admission counts tokens", "write 0, or set ULLAGE_QUEUE_TOKENS"),
    sets("NIM_ENGINE_COUNT", "instances"),
    sets("NIM_PIPELINE_MAX_BATCH_SIZE", "max_batch_rows"),
    sets("NIM_PRECISION", "precision", precision),
    sets("NIM_ENGINE_PRECISION", "precision", precision),
    *(only(name, ("hf",), "models that are not packaged come from that hub",
           "write hf, or give ULLAGE_RANKING_MODEL a folder")
      for name in ("NIM_MODEL_DOWNLOAD_PROVIDER", "NIM_ENGINE_MODEL_DOWNLOAD_PROVIDER")),
    holds("HF_TOKEN", "read by the hub's own library when a model is pulled"),
    sets("NIM_MODEL_NAME", "{service}_model"),
    sets("NIM_ENGINE_MODEL_NAME", "{service}_model"),
    sets("NIM_ENGINE_MODEL_PATH", "{service}_model"),
    refused("NIM_ENGINE_MODEL_VARIANT", "a model has one variant; leave it out"),
    only("NIM_SERVER_MODE", ("latency", "throughput"), _MODES, "write latency or throughput"),
    sets("NIM_SERVER_MAX_WAIT_MS", "batch_wait_ms"),
    sets("NIM_SERVER_HTTP_BODY_LIMIT_BYTES", "max_body"),
    refused("NIM_SERVER_MAX_IMAGE_BYTES", "pictures are bounded in pixels: set ULLAGE_VISION_MAX_PIXELS"),
)

NIM_NAMES: tuple[Name, ...] = (*INCIDENT, *NIM_1X, *NIM_2X)


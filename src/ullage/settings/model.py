"""Every setting of ullage, with its type, bounds and default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ByteSize, ConfigDict, Field, SecretStr, model_validator

from ullage.settings.ledger_url import LedgerUrl, checked
from ullage.settings.rag import BUNDLED_LLM, RagSettings

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Names by which a machine reaches itself, and nobody else does."""

Service = Literal["vectors", "ranking", "embedding", "llm", "ingest", "rag", "vision", "web"]
SERVICES: tuple[Service, ...] = ("vectors", "ranking", "embedding", "llm", "ingest", "rag")
"""Those that a stack has always."""

ALL_SERVICES: tuple[Service, ...] = (*SERVICES, "vision", "web")
"""And those that it has when the settings ask for them; the page is asked for unless they say otherwise."""

VisionTask = Literal["page-elements", "graphic-elements", "table-structure", "ocr"]
VISION_TASKS: tuple[VisionTask, ...] = ("page-elements", "graphic-elements", "table-structure", "ocr")
"""What the vision service does, in this order; in the stack we replace each is a service of its own."""


DEVICE = r"^(auto|cpu|cuda|cuda:\d{1,2}(,cuda:\d{1,2})*)$"

def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("there is no such home folder") from None


Folder = Annotated[Path, AfterValidator(_expanded)]


def _home(kind: str) -> Path:
    return Path.home() / kind / "ullage"


class Settings(RagSettings):
    """Set by flag, by environment (`ULLAGE_` + the name in capitals) or in a YAML file; the first that speaks wins.

    Sizes are bytes and take units: `700MiB`, `2GB`. Ports are those of the stack this one replaces.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory: ByteSize | None = Field(None, description="budget of the whole stack; else free memory less the headroom")
    headroom: ByteSize | None = Field(None, description="host memory never given away; else 5 %, at least 512MiB")
    gpu_memory: ByteSize | None = Field(None, description="budget on each GPU; else its free memory less gpu_headroom")
    gpu_headroom: ByteSize | None = Field(None, description="never given away on a GPU; else 5 %, at least 512MiB")

    host: str = Field("127.0.0.1", description="address every server binds to")
    ranking_port: int = Field(1976, ge=1, le=65535, description="where ranking listens")
    embedding_port: int = Field(9080, ge=1, le=65535, description="where embedding listens")
    llm_port: int = Field(8999, ge=1, le=65535, description="where the LLM listens")
    rag_port: int = Field(8081, ge=1, le=65535, description="where the RAG server listens")
    ingest_port: int = Field(8082, ge=1, le=65535, description="where the ingestor listens")
    mcp_port: int = Field(8083, ge=1, le=65535, description="where the MCP server listens, unless it talks over stdio")
    web_port: int = Field(8090, ge=1, le=65535, description="where the web page listens")
    vectors_port: int = Field(19530, ge=1, le=65535, description="where the vector database listens")
    vision_port: int = Field(8000, ge=1, le=65535, description="where page-elements and the vision service listen")
    graphic_elements_port: int = Field(8003, ge=1, le=65535, description="where graphic-elements listens")
    table_structure_port: int = Field(8006, ge=1, le=65535, description="where table-structure listens")
    ocr_port: int = Field(8012, ge=1, le=65535, description="where ocr listens")
    ranking_grpc_port: int | None = Field(None, ge=1, le=65535, description="where ranking serves KServe v2; else not")
    embedding_grpc_port: int | None = Field(None, ge=1, le=65535, description="the same of embedding")
    vision_grpc_port: int | None = Field(None, ge=1, le=65535, description="the same of page-elements; 8001 of the NIM")
    graphic_elements_grpc_port: int | None = Field(None, ge=1, le=65535, description="the same; 8004 of the NIM")
    table_structure_grpc_port: int | None = Field(None, ge=1, le=65535, description="the same; 8007 of the NIM")
    ocr_grpc_port: int | None = Field(None, ge=1, le=65535, description="the same; 8013 of the NIM")
    nim_version: Literal["1.8", "1.9", "1.10", "2.0"] = Field("1.10", description="whose codes are answered")
    tls_cert: Folder | None = Field(None, description="PEM certificate of a server, its chain after it; needs tls_key")
    tls_key: Folder | None = Field(None, description="PEM private key of tls_cert, without a password")
    api_keys: SecretStr | None = Field(None, description="keys between commas, one of which a caller sends; else open")
    ranking_served_name: str = Field("", max_length=128, description="another name the ranking model answers to")
    embedding_served_name: str = Field("", max_length=128, description="another name the embedding model answers to")

    ranking_url: str = Field("", description="where rag finds ranking; empty: this host and ranking_port")
    embedding_url: str = Field("", description="where rag and ingest find embedding; empty: this host and its port")
    llm_url: str = Field("", description="where rag finds the LLM: any OpenAI-compatible base; empty: this host")
    summary_llm_url: str = Field("", description="where ingest finds the LLM that summarises; empty: llm_url")
    summary_llm_model: str = Field("", description="what it is asked for; empty: llm_model")
    vectors_uri: str = Field("", description="Milvus URI or a local .db path; empty: this host and vectors_port")

    rag_url: str = Field("", description="where page, mcp and commands find the RAG server; empty: this host")
    ingest_url: str = Field("", description="where page, mcp and commands find the ingestor; empty: this host")
    vision_url: str = Field("", description="where ingest finds the vision service; empty: this host and vision_port")

    ranking_model: str = Field("ullage/minilm-fusion-ranker", description="card name, or a folder with a checkpoint")
    embedding_model: str = Field("sentence-transformers/all-MiniLM-L6-v2", description="card name or folder")
    llm_model: str = Field(BUNDLED_LLM, description="card name")

    vision_model: str = Field("ullage/page-vision", description="card name")

    ranking_memory: ByteSize | None = Field(None, description="budget of the ranking process alone")
    embedding_memory: ByteSize | None = Field(None, description="budget of the embedding process alone")
    llm_memory: ByteSize | None = Field(None, description="budget of the LLM process alone")
    rag_memory: ByteSize | None = Field(None, description="budget of the RAG server alone")
    ingest_memory: ByteSize | None = Field(None, description="budget of the ingestor alone")
    vectors_memory: ByteSize | None = Field(None, description="budget of the vector database alone")

    web_memory: ByteSize | None = Field(None, description="budget of the web page's process alone")
    vision_memory: ByteSize | None = Field(None, description="budget of the vision process alone")

    ranking_gpu_memory: ByteSize | None = Field(None, description="GPU budget of the ranking process alone")
    embedding_gpu_memory: ByteSize | None = Field(None, description="GPU budget of the embedding process alone")

    ranking_device: str = Field("auto", pattern=DEVICE, description="auto, cpu, cuda, or cuda:0,cuda:1: an engine each")
    embedding_device: str = Field("auto", pattern=DEVICE, description="auto, cpu, cuda, or cuda:0,cuda:1 (as above)")
    ranking_profile: str | None = Field(None, description="id, hash or number from `ullage list-model-profiles`")
    embedding_profile: str | None = Field(None, description="id, hash or number from `ullage list-model-profiles`")
    llm_profile: str | None = Field(None, description="id, hash or number from `ullage list-model-profiles`")
    vision_profile: str | None = Field(None, description="id, hash or number from `ullage list-model-profiles`")
    precision: Literal["auto", "fp32", "bf16", "fp16", "fp8", "int8"] = Field("auto", description="of encoder weights")
    cpu_backend: Literal["auto", "onnxruntime", "openvino"] = Field(
        "auto", description="what runs encoders on the CPU; auto: OpenVINO where it is installed")
    allow_lower_precision: bool = Field(False, description="step down to a lower precision when nothing else fits")
    allow_host_embedding: bool = Field(True, description="keep the embedding table in host memory when it must be")
    allow_cpu: bool = Field(True, description="run a GPU model on the CPU when it fits no GPU")
    instances: int = Field(1, ge=1, le=16, description="copies of each encoder in one process")
    max_sequence: int | None = Field(None, ge=16, description="tokens of one row of an encoder; else the card's limit")
    max_batch_tokens: int | None = Field(None, ge=16, description="tokens of an encoder's batch; else the profile's")
    max_batch_rows: int | None = Field(None, ge=1, description="rows of an encoder's batch; else as many as fit")
    llm_context: int | None = Field(None, ge=256, description="tokens of the LLM's context; else the profile's")
    queue_tokens: int = Field(262_144, ge=1024, description="tokens admitted and waiting, per model service")
    queue_requests: int = Field(1024, ge=1, description="requests admitted and waiting, per model service")
    batch_wait_ms: float = Field(0.0, ge=0, le=1000, description="wait this long for a batch to fill")
    score_cache: ByteSize = Field(ByteSize(0), description="memory for exact scores already computed; 0: none")
    threads: int | None = Field(None, ge=1, le=1024, description="compute threads per model; else the cores we may use")
    rate_limit: float | None = Field(None, gt=0, le=1e6, description="requests a second from one address; then 503")
    max_body: ByteSize = Field(ByteSize(64 << 20), description="largest request body")
    max_upload: ByteSize = Field(ByteSize(400 << 20), description="largest uploaded file")
    ingest_queue: ByteSize = Field(ByteSize(8 << 30), description="bytes of uploads that may wait to be ingested")
    ingest_queue_files: int = Field(20_000, ge=1, description="files that may wait to be ingested; then 503")
    ingest_ledger_url: Annotated[SecretStr, AfterValidator(checked)] | None = Field(
        None, description="where tasks are kept: postgresql://user:password@host:port/name; else SQLite")
    objects_uri: str = Field("", description="folder or fsspec URL of uploads and thumbnails (s3://...: extra s3); "
                                             "empty: state_dir")
    keep_uploads: bool = Field(True, description="keep the files of listed documents, so that their pages can be shown")
    reader_memory: ByteSize = Field(ByteSize(512 << 20), ge=256 << 20,
                                    description="address space of the process that reads one file; more is refused")
    reader_timeout_s: float = Field(60.0, gt=0, le=86_400,
                                    description="reading time of one file, and 1 s more for each page it gave")
    thumbnail_pixels: int = Field(256, ge=0, le=2048, description="longer side of a page's thumbnail; 0: none kept")
    strict_compatibility: bool = Field(False, description="take only what the replaced stack takes")
    transcription_url: str = Field("", description="OpenAI-compatible base for audio and video; empty: refused")
    transcription_model: str = Field("whisper-1", min_length=1, max_length=256, description="what it is asked for")
    transcription_api_key: SecretStr | None = Field(None, description="key that transcription_url wants")
    caption_url: str = Field("", description="OpenAI-compatible base of a model that describes charts; empty: none")
    caption_model: str = Field("", max_length=256, description="what it is asked for; empty: the first it lists")
    caption_api_key: SecretStr | None = Field(None, description="key that caption_url wants")
    request_timeout_s: float = Field(120.0, gt=0, le=86_400, description="a request that takes longer is given up")

    enable_vision: bool = Field(False, description="start the vision service with the stack (`ullage up --vision`)")
    enable_web: bool = Field(True, description="start the web page with the stack")
    vision_tasks: str = Field(",".join(VISION_TASKS), description="what the vision service does, separated by commas")
    page_elements_version: Literal["v2", "v3"] = Field("v3", description="labels: v2 has no paragraph, header_footer")
    vision_max_pixels: int = Field(18_000_000, ge=10_000, le=100_000_000, description="largest picture, in pixels")

    collection: str = Field("multimodal_data", min_length=1, max_length=255, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
                            description="used where a request names none")
    chunk_tokens: int = Field(200, ge=16, le=8192, description="tokens of the embedder's tokenizer per chunk")
    chunk_overlap: int = Field(40, ge=0, le=4096, description="tokens that a chunk repeats of the one before")
    retrieve_top_k: int = Field(40, ge=1, le=400, description="candidates from the vector database")
    rerank_top_k: int = Field(10, ge=1, le=25, description="passages kept after reranking")
    context_top_k: int = Field(3, ge=1, le=25, description="passages put before the LLM")
    enable_reranker: bool = Field(True, description="rerank what retrieval found, unless a request says otherwise")
    ranking_timeout_s: float = Field(30.0, gt=0, le=3600, description="after this rag answers in retrieval order")
    llm_max_tokens: int = Field(128, ge=1, le=128_000, description="tokens of an answer, unless the request says")

    mcp_files: Folder | None = Field(None, description="the folder whose files MCP tools may send; else, over stdio, "
                                                       "any, and over HTTP none")

    state_dir: Folder = Field(default_factory=lambda: _home(".local/state"), description="databases, uploads, logs")
    cache_dir: Folder = Field(default_factory=lambda: _home(".cache"), description="model files")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field("INFO", description="least level told")
    log_format: Literal["pretty", "json"] = Field("pretty", description="for people, or one JSON object a line")
    otel_endpoint: str = Field("", pattern=r"^(https?://\S+)?$",
                               description="where traces go: an OTLP collector over HTTP (extra otel); empty: nowhere")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if said := [text for _, text in self.contradictions()]:
            raise ValueError("; ".join(said))
        return self

    def contradictions(self) -> list[tuple[tuple[str, ...], str]]:
        """(settings, what is wrong) of settings that are each in range and yet cannot hold together."""
        found: list[tuple[tuple[str, ...], str]] = []
        if self.chunk_overlap >= self.chunk_tokens:
            found.append((("chunk_overlap", "chunk_tokens"),
                          f"chunk_overlap={self.chunk_overlap} must be less than chunk_tokens={self.chunk_tokens}"))
        if self.max_batch_tokens and self.max_sequence and self.max_batch_tokens < self.max_sequence:
            found.append((("max_batch_tokens", "max_sequence"),
                          f"max_batch_tokens={self.max_batch_tokens} holds no row of max_sequence="
                          f"{self.max_sequence}: raise the one or lower the other"))
        unknown = {name.strip() for name in self.vision_tasks.split(",")} - {*VISION_TASKS}
        if unknown:
            found.append((("vision_tasks",), f"vision_tasks={self.vision_tasks}: there are {', '.join(VISION_TASKS)}"))
        elif len(self.vision_ports()) < len(self.tasks):
            found.append((("vision_port", "graphic_elements_port", "table_structure_port", "ocr_port"),
                          "two vision tasks want one port: give each its own"))
        if self.caption_url and not (self.enable_vision or self.vision_url):
            found.append((("caption_url", "enable_vision", "vision_url"),
                          "caption_url needs a vision service, which finds the charts: set enable_vision=true or "
                          "vision_url"))
        found += self.rag_contradictions()
        for part, whole in ((f"{s}_{kind}", kind) for kind in ("memory", "gpu_memory") for s in ALL_SERVICES):
            own, all_of_it = getattr(self, part, None), getattr(self, whole)
            if own is not None and all_of_it is not None and own > all_of_it:
                owner = "of the whole stack" if whole == "memory" else "on each GPU"
                found.append(((part, whole), f"{part}={own} is more than {whole}={all_of_it} {owner}: lower it"))
        return found

    @property
    def tasks(self) -> tuple[VisionTask, ...]:
        """What the vision service does, in its usual order."""
        asked = {name.strip() for name in self.vision_tasks.split(",")}
        return tuple(task for task in VISION_TASKS if task in asked)

    def vision_ports(self) -> dict[int, VisionTask]:
        """Which task `/v1/infer` means at each port of the vision service."""
        return {int(getattr(self, f"{prefix_of(task)}_port")): task for task in self.tasks}

    def port(self, service: Service) -> int:
        if service == "vision":
            return next(iter(self.vision_ports()))
        return int(getattr(self, f"{service}_port"))

    def more_ports(self, service: Service) -> tuple[int, ...]:
        """Where a service answers beside `port`."""
        return tuple(self.vision_ports())[1:] if service == "vision" else ()

    def service_memory(self, service: Service) -> int | None:
        """The budget of one service in bytes, or None when only the stack's counts."""
        value = getattr(self, f"{service}_memory")
        return None if value is None else int(value)

    def service_gpu_memory(self, service: Service) -> int | None:
        """The GPU budget of one service in bytes, or None when only `gpu_memory` counts."""
        value = getattr(self, f"{service}_gpu_memory", None)
        return None if value is None else int(value)

    def device(self, service: Service) -> str:
        """`auto`, `cpu`, `cuda` or `cuda:INDEX`."""
        return str(getattr(self, f"{service}_device", "cpu"))

    def profile(self, service: Service) -> str | None:
        """The profile the operator pinned, as he wrote it."""
        return getattr(self, f"{service}_profile", None)

    def model(self, service: Service) -> str | None:
        """The card name or folder of a model service; None for a service without a model."""
        return getattr(self, f"{service}_model", None)

    @property
    def ledger_url(self) -> LedgerUrl | None:
        """The shared database of the ledgers, or None where they are SQLite files in the state folder."""
        text = self.ingest_ledger_url.get_secret_value() if self.ingest_ledger_url is not None else ""
        return LedgerUrl.of(text) if text else None

    @property
    def llm_judges(self) -> bool:
        """Does an LLM rewrite questions and judge answers, and not rules?"""
        return self.judgement == "llm" or (self.judgement == "auto" and self.llm_model != BUNDLED_LLM)

    def url(self, service: Service) -> str:
        """Base URL without a trailing slash, or the Milvus URI for `vectors`."""
        scheme = "https" if self.tls_cert is not None and service != "vectors" else "http"
        here = f"{scheme}://{bracketed(reachable(self.bind_host(service)))}:{self.port(service)}"
        return self.named_url(service).rstrip("/") or here

    def named_url(self, service: Service) -> str:
        """Where the settings say that a service runs; empty when it is one of this machine."""
        return str(getattr(self, "vectors_uri" if service == "vectors" else f"{service}_url", ""))

    def bind_host(self, service: Service) -> str:
        """Milvus Lite knows neither keys nor TLS: where others need them it is on the loopback alone."""
        if service == "vectors" and (self.api_keys is not None or self.tls_cert is not None):
            return "::1" if ":" in self.host else "127.0.0.1"
        return self.host


def prefix_of(task: VisionTask) -> str:
    """How the settings of a vision task begin. Those of page-elements, the first, are also those of all of them."""
    return "vision" if task == "page-elements" else task.replace("-", "_")


def reachable(host: str) -> str:
    """The address at which a server bound to `host` is found from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104


def bracketed(host: str) -> str:
    """`host` as a URL or `host:port` wants it."""
    return f"[{host}]" if ":" in host else host

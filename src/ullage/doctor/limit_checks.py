"""Settings that are each in range and yet cannot hold together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from ullage.doctor.catalog import Entry
from ullage.doctor.finding import Finding
from ullage.doctor.name_checks import line_of
from ullage.doctor.settings_files import Setting
from ullage.doctor.text import Text
from ullage.doctor.vendor import EMBEDDER_ONNX, RERANKER_ONNX, Image

Values = Mapping[str, Setting]


@dataclass(frozen=True, slots=True)
class Rule:
    """`broken` looks at the settings of one environment; `names` are those that a finding shows."""

    names: tuple[str, str]
    broken: Callable[[Values], bool]
    why: Text
    remedy: Text


def number(values: Values, name: str) -> float | None:
    setting = values.get(name)
    text = setting.value.strip("\"' ") if setting else ""
    return float(text) if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text) else None


def text(values: Values, name: str) -> str:
    return values[name].value.strip("\"' ") if name in values else ""


def _over(values: Values, one: str, most: str | float) -> bool:
    """Whether a number is greater than another setting's, or than a bound; False where one of them is not known."""
    left, right = number(values, one), number(values, most) if isinstance(most, str) else most
    return left is not None and right is not None and left > right


RULES = (
    Rule(("APP_RETRIEVER_TOPK", "VECTOR_DB_TOPK"), lambda v: _over(v, "APP_RETRIEVER_TOPK", "VECTOR_DB_TOPK"),
         Text("More passages are kept after reranking than retrieval hands over; such a request answers 400.",
              "Nach dem Reranking sollen mehr Passagen bleiben, als die Suche liefert; die Anfrage endet mit 400."),
         Text("Let APP_RETRIEVER_TOPK be at most VECTOR_DB_TOPK.",
              "APP_RETRIEVER_TOPK höchstens so groß wie VECTOR_DB_TOPK setzen.")),
    Rule(("APP_RETRIEVER_TOPK", "APP_RETRIEVER_TOPK"), lambda v: _over(v, "APP_RETRIEVER_TOPK", 25),
         Text("A request takes 1 to 25.", "Eine Anfrage nimmt 1 bis 25."),
         Text("Write 25 or less.", "25 oder weniger schreiben.")),
    Rule(("VECTOR_DB_TOPK", "VECTOR_DB_TOPK"), lambda v: _over(v, "VECTOR_DB_TOPK", 400),
         Text("A request takes 1 to 400.", "Eine Anfrage nimmt 1 bis 400."),
         Text("Write 400 or less.", "400 oder weniger schreiben.")),
    Rule(("VECTOR_DB_TOPK", "APP_VECTORSTORE_EF"), lambda v: _over(v, "VECTOR_DB_TOPK", "APP_VECTORSTORE_EF"),
         Text("EF must be at least VECTOR_DB_TOPK, or the index refuses the search.",
              "EF muss mindestens VECTOR_DB_TOPK sein, sonst lehnt der Index die Suche ab."),
         Text("Raise APP_VECTORSTORE_EF.", "APP_VECTORSTORE_EF anheben.")),
    Rule(("APP_NVINGEST_CHUNKOVERLAP", "APP_NVINGEST_CHUNKSIZE"),
         lambda v: number(v, "APP_NVINGEST_CHUNKOVERLAP") is not None
         and (number(v, "APP_NVINGEST_CHUNKOVERLAP") or 0) >= (number(v, "APP_NVINGEST_CHUNKSIZE") or 1e12),
         Text("A chunk that repeats all of the one before never gets on.",
              "Ein Abschnitt, der den vorigen ganz wiederholt, kommt nie voran."),
         Text("Let the overlap be less than the size.", "Die Überlappung kleiner als die Größe wählen.")),
    Rule(("APP_VECTORSTORE_NAME", "APP_VECTORSTORE_URL"),
         lambda v: (text(v, "APP_VECTORSTORE_NAME") == "milvus" and text(v, "APP_VECTORSTORE_URL").endswith(":9200"))
         or (text(v, "APP_VECTORSTORE_NAME") == "elasticsearch" and text(v, "APP_VECTORSTORE_URL").endswith(":19530")),
         Text("The URL is the other database's: Milvus listens on 19530, Elasticsearch on 9200.",
              "Die URL gehört zur anderen Datenbank: Milvus hört auf 19530, Elasticsearch auf 9200."),
         Text("Let name and URL speak of one database.", "Name und URL auf eine Datenbank richten.")),
    Rule(("NIM_TRITON_DATA_MAX_BATCH_SIZE", "NIM_TRITON_MAX_BATCH_SIZE"),
         lambda v: _over(v, "NIM_TRITON_DATA_MAX_BATCH_SIZE", "NIM_TRITON_MAX_BATCH_SIZE"),
         Text("The warm-up runs larger batches than any request may, and reserves for them.",
              "Das Aufwärmen läuft mit größeren Stapeln als jede Anfrage und reserviert dafür."),
         Text("Let NIM_TRITON_DATA_MAX_BATCH_SIZE be at most NIM_TRITON_MAX_BATCH_SIZE.",
              "NIM_TRITON_DATA_MAX_BATCH_SIZE höchstens so groß wie NIM_TRITON_MAX_BATCH_SIZE setzen.")),
    Rule(("NIM_MODEL_PROFILE", "NIM_TRITON_MAX_BATCH_SIZE"),
         lambda v: text(v, "NIM_MODEL_PROFILE") == EMBEDDER_ONNX and _over(v, "NIM_TRITON_MAX_BATCH_SIZE", 3),
         Text("The embedder's ONNX profile takes batches of 3 at most; more ends the start with 'larger than the "
              "model's supported max_batch_size'.",
              "Das ONNX-Profil des Embedders nimmt höchstens Stapel von 3; mehr beendet den Start mit 'larger than the "
              "model's supported max_batch_size'."),
         Text("Write NIM_TRITON_MAX_BATCH_SIZE=3.", "NIM_TRITON_MAX_BATCH_SIZE=3 schreiben.")),
    Rule(("NIM_MODEL_PROFILE", "NIM_TRITON_MAX_SEQ_LENGTH"),
         lambda v: text(v, "NIM_MODEL_PROFILE") == RERANKER_ONNX and _over(v, "NIM_TRITON_MAX_SEQ_LENGTH", 4096),
         Text("The reranker's ONNX profile takes 4096 tokens at most.",
              "Das ONNX-Profil des Rerankers nimmt höchstens 4096 Token."),
         Text("Write 4096 or less.", "4096 oder weniger schreiben.")),
    Rule(("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
         lambda v: text(v, "NVIDIA_VISIBLE_DEVICES").isdigit() and text(v, "CUDA_VISIBLE_DEVICES").isdigit()
         and text(v, "CUDA_VISIBLE_DEVICES") not in ("0", text(v, "NVIDIA_VISIBLE_DEVICES")),
         Text("The container is shown one GPU, which is number 0 inside; CUDA is told to take another.",
              "Der Container sieht eine GPU, innen die Nummer 0; CUDA soll eine andere nehmen."),
         Text("Leave CUDA_VISIBLE_DEVICES out.", "CUDA_VISIBLE_DEVICES weglassen.")),
)


def limit_findings(settings: tuple[Setting, ...], checks: Mapping[str, Entry], image: Image | None,
                   subject: str) -> Iterator[Finding]:
    """Findings about the settings of one environment, each named by the two that quarrel."""
    values = {setting.name: setting for setting in settings}
    for rule in RULES:
        present = [values[name] for name in dict.fromkeys(rule.names) if name in values]
        if present and rule.broken(values):
            one, other = present[0], present[-1]
            shown = [f"{s.name}={s.value[:70]}" for s in (one, other)]
            entry = checks["limits-contradict"]
            made = entry.finding([line_of(s) for s in present], subject=f"{subject}:{'/'.join(rule.names)}",
                                 one=shown[0], other=shown[1] if one is not other else str(_bound(rule)),
                                 why="{why}", remedy="{remedy}")
            yield _with(made, rule)
    if image is not None and image.family == "rerank" and image.generation == "1.x":
        yield from _reranker(values, checks, subject)


def _bound(rule: Rule) -> str:
    return rule.why.en.rstrip(".").lower()


def _with(finding: Finding, rule: Rule) -> Finding:
    return replace(finding, cause=rule.why, remedy=rule.remedy)


def _reranker(values: Values, checks: Mapping[str, Entry], subject: str) -> Iterator[Finding]:
    """The engine's largest batch is 30: a cap above it ends the start."""
    if _over(values, "NIM_TRITON_MAX_BATCH_SIZE", 30):
        setting = values["NIM_TRITON_MAX_BATCH_SIZE"]
        rule = Rule(("NIM_TRITON_MAX_BATCH_SIZE", ""), lambda _: True,
                    Text("The engines of the 1.x rerankers take batches of 30 at most; a larger cap ends the start.",
                         "Die Engines der 1.x-Reranker nehmen höchstens Stapel von 30; mehr beendet den Start."),
                    Text("Write 30 or less.", "30 oder weniger schreiben."))
        made = checks["limits-contradict"].finding(
            [line_of(setting)], subject=f"{subject}:batch", one=f"NIM_TRITON_MAX_BATCH_SIZE={setting.value[:20]}",
            other="the engine's 30")
        yield _with(made, rule)

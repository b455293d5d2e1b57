"""How a metric of ours is named, and which names of the replaced stack are answered beside them."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

OBSERVABILITY = Path(__file__).parents[1] / "deploy" / "observability"
OURS = re.compile(r"ullage(_[a-z][a-z0-9]*)+")
REPLACED = re.compile(
    r"nv_inference_\w+|api_requests|(input|output|total)_tokens|avg_words_per_chunk|token_usage_distribution|"
    r"(rag_ttft|llm_ttft|context_reranker_time|retrieval_time|llm_generation_time)_ms"
)
"""Series that dashboards of the stack we replace read, under its own names."""

ROOMS = ("http", "memory", "batch", "bodies", "phase", "scheduler", "rag", "llm", "vision", "ready", "started",
         "ingest", "web", "mcp")
SECONDS = re.compile(r"(?<!_unix)_(ms|millis|minutes|duration)(_|$)")


def families(text):
    """Every family of a scrape, but the times at which series were made."""
    return {family.name: family for family in text_string_to_metric_families(text)
            if not family.name.endswith("_created")}


def faults(text):
    """What breaks the scheme: `ullage_ROOM_WHAT_UNIT`, base units, a help text, counters that end in _total."""
    found = []
    for name, family in families(text).items():
        if REPLACED.fullmatch(name):
            continue
        if not OURS.fullmatch(name) or name.split("_")[1] not in ROOMS:
            found.append(f"{name}: not ullage_ROOM_...")
        if SECONDS.search(name):
            found.append(f"{name}: times are in seconds")
        if not family.documentation.strip():
            found.append(f"{name}: no help")
        if family.type == "unknown":
            found.append(f"{name}: no type")
        found += [f"{name}: label {label}" for sample in family.samples for label in sample.labels
                  if not re.fullmatch(r"[a-z]+", label)]
    return found


def samples(text):
    """Every series name of a scrape, such as `ullage_http_requests_total`; a counter without one yet counts too."""
    named = {sample.name for family in families(text).values() for sample in family.samples}
    for name, family in families(text).items():
        named |= {"counter": {f"{name}_total"}, "histogram": {f"{name}_{part}" for part in ("bucket", "sum", "count")}
                  }.get(family.type, {name})
    return named


def used():
    """Every series that the dashboard and the alerts read."""
    text = (OBSERVABILITY / "dashboard.json").read_text() + (OBSERVABILITY / "alerts.yaml").read_text()
    return set(re.findall(r"\bullage_[a-z0-9_]+", text))

"""Write deploy/observability/dashboard.json, the Grafana dashboard, from the table below."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "deploy" / "observability" / "dashboard.json"
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDE, HALF, HIGH = 24, 12, 8

ROWS: tuple[tuple[str, tuple[tuple[str, str, str, str], ...]], ...] = (
    ("Is it well?", (
        ("Ready", "short", "ullage_ready", "{{service}}"),
        ("Started again in the last hour", "short", "changes(ullage_started_unix_seconds[1h])", "{{service}}"),
        ("Answers without a service", "ops", "sum by (service) (rate(ullage_rag_degraded_total[5m]))", "{{service}}"),
        ("Failed and refused", "reqps",
         'sum by (service, status) (rate(ullage_http_requests_total{status=~"4..|5.."}[5m]))',
         "{{service}} {{status}}"),
    )),
    ("Requests", (
        ("Requests", "reqps", "sum by (service) (rate(ullage_http_requests_total[5m]))", "{{service}}"),
        ("95 % answered within", "s",
         "histogram_quantile(0.95, sum by (le, service) (rate(ullage_http_request_seconds_bucket[5m])))",
         "{{service}}"),
        ("Stages of an answer, mean", "s",
         "sum by (stage) (rate(ullage_rag_stage_seconds_sum[5m]))"
         " / sum by (stage) (rate(ullage_rag_stage_seconds_count[5m]))",
         "{{stage}}"),
        ("Phases of ranking and embedding, 95 %", "s",
         "histogram_quantile(0.95, sum by (le, service, phase) (rate(ullage_phase_seconds_bucket[5m])))",
         "{{service}} {{phase}}"),
    )),
    ("Memory", (
        ("Resident beside planned", "bytes", "ullage_memory_resident_bytes", "{{service}} resident"),
        ("Planned", "bytes", "ullage_memory_planned_bytes", "{{service}}"),
        ("GPU used beside planned", "bytes", "ullage_memory_gpu_used_bytes", "{{service}} used"),
        ("Out of memory, split, held back", "ops",
         "rate(ullage_memory_ooms_total[5m]) + rate(ullage_memory_splits_total[5m])"
         " + rate(ullage_memory_holds_total[5m])",
         "{{service}}"),
    )),
    ("Work", (
        ("Tokens waiting", "short", "ullage_scheduler_queued_tokens", "{{service}}"),
        ("Tokens a second", "short", "rate(ullage_scheduler_tokens_total[5m])", "{{service}}"),
        ("Refused for want of room", "ops",
         "rate(ullage_scheduler_refused_total[5m]) + rate(ullage_bodies_refused_total[5m])", "{{service}}"),
        ("LLM: tokens a second", "short", "rate(ullage_llm_completion_tokens_total[5m])", "tokens"),
    )),
    ("Answers", (
        ("Questions the documents do not answer", "ops", "rate(ullage_rag_declined_total[5m])", "declined"),
        ("Sentences withheld", "ops", "rate(ullage_rag_withheld_sentences_total[5m])", "withheld"),
    )),
)


def dashboard() -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS:
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": top, "w": WIDE, "h": 1}})
        top += 1
        for place, (name, unit, expr, legend) in enumerate(row):
            panels.append(_panel(len(panels) + 1, name, unit, expr, legend, place % 2 * HALF, top + place // 2 * HIGH))
        top += -(-len(row) // 2) * HIGH
    return {
        "title": "ullage", "uid": "ullage", "tags": ["ullage"], "schemaVersion": 39, "editable": True,
        "refresh": "30s", "time": {"from": "now-6h", "to": "now"}, "panels": panels,
        "templating": {"list": [
            {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        ]},
    }


def _panel(number: int, name: str, unit: str, expr: str, legend: str, x: int, y: int) -> dict[str, Any]:
    return {
        "id": number, "type": "timeseries", "title": name, "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": HALF, "h": HIGH},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [{"refId": "A", "expr": expr, "legendFormat": legend, "datasource": SOURCE}],
    }


if __name__ == "__main__":
    TARGET.write_text(json.dumps(dashboard(), indent=1) + "\n", encoding="utf-8")

"""Run aiperf's endpoint types against running services; keep what matters of its exports in docs/reports/aiperf/."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from ullage.models.card import find_card
from ullage.models.files import pull
from ullage.settings import Settings
from ullage.version import __version__

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "contract"))

from servers import EMBEDDER, RANKER, Server, serving  # noqa: E402

REPORTS = ROOT / "docs" / "reports" / "aiperf"
RANKINGS = ("--rankings-passages-mean", "40", "--rankings-passages-prompt-token-mean", "128",
            "--rankings-passages-prompt-token-stddev", "32", "--rankings-query-prompt-token-mean", "16")
EMBEDDINGS = ("--isl", "128", "--isl-stddev", "32", "--batch-size-text", "8")
KEPT = ("request_latency", "request_throughput", "request_count", "error_request_count", "benchmark_duration")
QUANTILES = ("avg", "min", "p50", "p90", "p99", "max", "unit")


@dataclass(frozen=True)
class Run:
    """One endpoint type of aiperf: `work` in words, and as its options."""

    endpoint: str
    service: str
    model: str
    path: str
    work: str
    options: tuple[str, ...]
    requests: int = 20
    clients: int = 4


RUNS = (
    Run("nim_rankings", "ranking", RANKER, "/v1/ranking", "40 passages of 128 tokens", RANKINGS),
    Run("cohere_rankings", "ranking", RANKER, "/v2/rerank", "40 passages of 128 tokens", RANKINGS, requests=10),
    Run("hf_tei_rankings", "ranking", RANKER, "/rerank", "40 passages of 128 tokens", RANKINGS, requests=10),
    Run("nim_embeddings", "embedding", EMBEDDER, "/v1/embeddings", "8 texts of 128 tokens", EMBEDDINGS, requests=60),
)


def main(aiperf: Path) -> None:
    REPORTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tokenizer = _tokenizer(folder / "tokenizer")
        found = []
        for service in ("ranking", "embedding"):
            with serving(service, folder) as server:
                found += [(run, _measure(aiperf, run, server, tokenizer, folder / run.endpoint))
                          for run in RUNS if run.service == service]
    (REPORTS / "README.md").write_text(_text(found), encoding="utf-8")


def _tokenizer(folder: Path) -> Path:
    """The bundled tokenizer in the layout of transformers, so that aiperf asks no hub."""
    folder.mkdir()
    files = pull(find_card(EMBEDDER, "embedding"), Settings().cache_dir)
    shutil.copy(files["tokenizer"], folder / "tokenizer.json")
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "cls", "sep", "pad", "mask")}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def _measure(aiperf: Path, run: Run, server: Server, tokenizer: Path, artifacts: Path) -> dict[str, Any]:
    """Run it and keep its figures as JSON. Raises CalledProcessError when aiperf fails."""
    command = [
        aiperf, "profile", "-m", run.model, "--endpoint-type", run.endpoint, "-u", server.url, "--tokenizer", tokenizer,
        *run.options, "--concurrency", str(run.clients), "--request-count", str(run.requests),
        "--warmup-request-count", "2", "--random-seed", "7", "--ui", "none", "--no-gpu-telemetry",
        "--no-server-metrics", "--artifact-dir", artifacts,
    ]
    ran = subprocess.run([str(part) for part in command], env={**os.environ, "COLUMNS": "120"},
                         capture_output=True, text=True, timeout=600)
    export = artifacts / "profile_export_aiperf.json"
    if ran.returncode or not export.is_file():
        told = ran.stdout[-4000:] + ran.stderr[-2000:]
        raise SystemExit(f"aiperf {run.endpoint} failed with {ran.returncode}:\n{told}")
    whole = json.loads(export.read_text(encoding="utf-8"))
    kept = {name: {key: whole[name][key] for key in QUANTILES if key in whole[name]} for name in KEPT if name in whole}
    kept = {"aiperf_version": whole["aiperf_version"], "endpoint_type": run.endpoint, "path": run.path,
            "options": [*run.options, "--concurrency", str(run.clients), "--request-count", str(run.requests)],
            **kept, "error_summary": whole.get("error_summary", [])}
    (REPORTS / f"{run.endpoint}.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    return kept


def _text(found: list[tuple[Run, dict[str, Any]]]) -> str:
    rows = [_row(run, kept) for run, kept in found]
    versions = {kept["aiperf_version"] for _, kept in found}
    return "\n".join((
        "# aiperf",
        "",
        f"NVIDIA's aiperf {', '.join(versions)} against ullage {__version__} on {_machine()}, "
        f"{datetime.now(UTC):%Y-%m-%d}. Made by `scripts/aiperf`; the figures that it exports are beside this file.",
        "",
        "| endpoint type | route | a request | clients | requests | errors | requests/s | p50 ms | p90 ms | p99 ms |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        "aiperf sends no `truncate`, so a text of more than 512 tokens is refused: lengths are chosen to stay below. "
        "aiperf's tokenizer is a folder made of the bundled one; nothing is fetched.",
        "",
    ))


def _row(run: Run, kept: dict[str, Any]) -> str:
    latency = kept["request_latency"]
    errors = kept.get("error_request_count", {}).get("avg", 0)
    cells = (f"`{run.endpoint}`", f"`{run.path}`", run.work, run.clients, f"{kept['request_count']['avg']:.0f}",
             f"{errors:.0f}", f"{kept['request_throughput']['avg']:.2f}",
             *(f"{latency[name]:.0f}" for name in ("p50", "p90", "p99")))
    return f"| {' | '.join(map(str, cells))} |"


def _machine() -> str:
    names = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return f"{psutil.cpu_count()} cores of {names[0] if names else platform.machine()}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))

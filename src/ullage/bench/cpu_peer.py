"""Runs in a peer's own environment, as a file: loads one library on a checkpoint and scores what it is sent.

    python cpu_peer.py LIBRARY VARIANT FOLDER SCRATCH

One JSON object a line: first `{"loaded_s", "versions"}` or `{"error"}`; then for each `{"requests": [[query, passages],
...], "clients": n}` an answer `{"scores", "seconds", "latencies_s"}`. It knows nothing of ullage and imports nothing
of it. Whatever a library prints goes to standard error.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Score = Callable[[str, list[str]], list[float]]
CORES = len(os.sched_getaffinity(0))
PACKAGES = ("sentence-transformers", "torch", "transformers", "onnxruntime", "openvino", "optimum", "optimum-intel",
            "nncf", "infinity-emb", "fastembed", "numpy")


def open_peer(library: str, variant: str, folder: Path, scratch: Path) -> Score:
    """Raises whatever the library raises when it cannot load the checkpoint."""
    if library == "sentence-transformers":
        return sentence_transformers(variant, folder, scratch)
    if library == "fastembed":
        return fastembed(scratch)
    return infinity(variant, folder if variant == "torch" else scratch / "onnx-fp32")


def sentence_transformers(variant: str, folder: Path, scratch: Path) -> Score:
    """Variants: BACKEND-PRECISION, of torch, onnx and openvino."""
    import torch
    from sentence_transformers import CrossEncoder

    torch.set_num_threads(CORES)
    backend, _, precision = variant.partition("-")
    own = scratch / variant
    if not own.is_dir():
        shutil.copytree(folder, own)
    options: dict[str, Any] = {"device": "cpu", "local_files_only": True}
    if backend == "torch":
        kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        model = CrossEncoder(str(own), model_kwargs={"dtype": kind}, **options)
    elif backend == "onnx":
        model = _onnx(CrossEncoder, own, precision, options)
    else:
        hints = {"fp32": {"INFERENCE_PRECISION_HINT": "f32"}, "bf16": {"INFERENCE_PRECISION_HINT": "bf16"}}
        kwargs: dict[str, Any] = {"export": True, "ov_config": {"NUM_STREAMS": 1, **hints.get(precision, {})}}
        if precision == "int8":
            kwargs["load_in_8bit"] = True
        model = CrossEncoder(str(own), backend="openvino", model_kwargs=kwargs, **options)

    def score(query: str, passages: list[str]) -> list[float]:
        scores = model.predict([(query, passage) for passage in passages], show_progress_bar=False)
        return [float(value) for value in scores]

    return score


def _onnx(cross_encoder: Any, own: Path, precision: str, options: dict[str, Any]) -> Any:
    """int8 as its documentation makes it: dynamic, for AVX512 with VNNI."""
    plain = {"provider": "CPUExecutionProvider"}
    if not (own / "onnx" / "model.onnx").is_file():
        made = cross_encoder(str(own), backend="onnx", model_kwargs={**plain, "export": True}, **options)
        made.save_pretrained(str(own))
    if precision == "fp32":
        return cross_encoder(str(own), backend="onnx", model_kwargs={**plain, "file_name": "onnx/model.onnx"},
                             **options)
    from sentence_transformers import export_dynamic_quantized_onnx_model

    file = "onnx/model_qint8_avx512_vnni.onnx"
    if not (own / file).is_file():
        model = cross_encoder(str(own), backend="onnx", model_kwargs={**plain, "file_name": "onnx/model.onnx"},
                              **options)
        export_dynamic_quantized_onnx_model(model, "avx512_vnni", str(own))
    return cross_encoder(str(own), backend="onnx", model_kwargs={**plain, "file_name": file}, **options)


def fastembed(scratch: Path) -> Score:
    """It reads ONNX only, and no folder of its own choice but by a model that was added: the graph is ours."""
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    own = scratch / "fastembed"
    TextCrossEncoder.add_custom_model("bench/local", model_file="model.onnx", sources=ModelSource(hf="bench/local"))
    model = TextCrossEncoder("bench/local", specific_model_path=str(own), local_files_only=True, threads=CORES)
    return lambda query, passages: [float(value) for value in model.rerank(query, passages)]


def infinity(variant: str, folder: Path) -> Score:
    """Variants: its engines, torch or optimum, in fp32. The latter exports nothing: another peer made its graph."""
    from infinity_emb import AsyncEmbeddingEngine, EngineArgs

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    args = EngineArgs(model_name_or_path=str(folder), engine=variant, device="cpu", bettertransformer=False,
                      model_warmup=False, trust_remote_code=False, compile=False)
    engine = AsyncEmbeddingEngine.from_args(args)
    asyncio.run_coroutine_threadsafe(engine.astart(), loop).result()

    def score(query: str, passages: list[str]) -> list[float]:
        work = engine.rerank(query=query, docs=passages, raw_scores=True)
        ranked, _ = asyncio.run_coroutine_threadsafe(work, loop).result()
        scores = [0.0] * len(passages)
        for each in ranked:
            scores[each.index] = float(each.relevance_score)
        return scores

    score.concurrent = True  # type: ignore[attr-defined]
    return score


def answer(score: Score, asked: dict[str, Any]) -> dict[str, Any]:
    """Requests shared out to `clients`, each of which sends one after the other."""
    requests, clients = asked["requests"], asked["clients"]
    # A library that is called by several threads takes one at a time, as its servers do.
    turn = None if getattr(score, "concurrent", False) else threading.Lock()
    latencies = [0.0] * len(requests)
    scores: list[list[float]] = [[]] * len(requests)
    begun = time.perf_counter()

    def client(number: int) -> None:
        for place in range(number, len(requests), clients):
            sent = time.perf_counter()
            if turn is None:
                scores[place] = score(*requests[place])
            else:
                with turn:
                    scores[place] = score(*requests[place])
            latencies[place] = time.perf_counter() - sent

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"scores": scores, "seconds": time.perf_counter() - begun, "latencies_s": latencies}


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    library, variant, folder, scratch = sys.argv[1:]
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", DO_NOT_TRACK="1", TOKENIZERS_PARALLELISM="false")
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    begun = time.perf_counter()
    try:
        score = open_peer(library, variant, Path(folder), Path(scratch))
    except Exception as error:  # whatever a library raises is what the report says of it
        out.write(json.dumps({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"}) + "\n")
        out.flush()
        return
    out.write(json.dumps({"loaded_s": time.perf_counter() - begun, "versions": _versions()}) + "\n")
    out.flush()
    for line in sys.stdin:
        out.write(json.dumps(answer(score, json.loads(line))) + "\n")
        out.flush()


if __name__ == "__main__":
    main()

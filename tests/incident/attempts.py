"""What the author of the incident tried, as environments, and the situations that his logs show.

Names and values are his, to the letter; `ends` is what ullage must do with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

RERANKER_1B = "nvcr.io/nim/nvidia/llama-3.2-nv-rerankqa-1b-v2:1.8.0"
RERANKER_1B_OLD = "nvcr.io/nim/nvidia/llama-3.2-nv-rerankqa-1b-v2:1.7.0"
RERANKER_500M = "nvcr.io/nim/nvidia/llama-3.2-nemoretriever-500m-rerank-v2:1.7.0"

COMPOSE = {
    "NGC_API_KEY": "nvapi-not-a-real-key",
    "NIM_CACHE_PATH": "{cache}",
    "NIM_HTTP_API_PORT": "8000",
    "NVIDIA_VISIBLE_DEVICES": "all",
}
"""What his compose file gave the container in every attempt."""


@dataclass(frozen=True)
class Attempt:
    """`ends` is `ready`, or words of the line that must name the mistake. `notes` must be said in the log."""

    number: str
    tried: str
    environ: dict[str, str] = field(default_factory=dict)
    model: str = RERANKER_1B
    ends: str = "ready"
    notes: tuple[str, ...] = ()
    profile: str = ""
    starts: int = 1
    stale_plan: bool = False


ATTEMPTS = (
    Attempt("1", "a longer health window (retries 300, start_period 10m)"),
    Attempt("2a", "pin a profile by the name of its cache folder", {"NIM_MODEL_PROFILE": "a100x1-trt-fp16-dxtbz8wstg"},
            ends="NIM_MODEL_PROFILE=a100x1-trt-fp16-dxtbz8wstg"),
    Attempt("2b", "pin a profile as `profile_0`", {"NIM_MODEL_PROFILE": "profile_0"},
            ends="NIM_MODEL_PROFILE=profile_0"),
    Attempt("2c", "pick a profile by its number", {"NIM_PROFILE_INDEX": "0"}, notes=("NIM_PROFILE_INDEX",),
            profile="cuda-bf16-t16384-s8192"),
    Attempt("2d", "limit batch and length", {"NIM_MAX_BATCH_SIZE": "8", "NIM_MAX_INPUT_LENGTH": "2048"},
            notes=("NIM_MAX_BATCH_SIZE", "NIM_MAX_INPUT_LENGTH"), profile="cuda-bf16-t16384-s2048"),
    Attempt("2e", "all of these at once",
            {"NIM_MODEL_PROFILE": "a100x1-trt-fp16-dxtbz8wstg", "NIM_PROFILE_INDEX": "0", "NIM_MAX_BATCH_SIZE": "8",
             "NIM_MAX_INPUT_LENGTH": "2048"}, ends="NIM_MODEL_PROFILE=a100x1-trt-fp16-dxtbz8wstg"),
    Attempt("3", "remove the engine plan from the cache", stale_plan=True),
    Attempt("4", "switch TensorRT off, force Python",
            {"NIM_DISABLE_TRT": "1", "NIM_FORCE_PYTHON": "1", "NIM_BACKENDS": "python"},
            notes=("NIM_DISABLE_TRT", "NIM_FORCE_PYTHON", "NIM_BACKENDS")),
    Attempt("5", "the older 1.7.0 with small limits", {"NIM_MAX_BATCH_SIZE": "8", "NIM_MAX_INPUT_LENGTH": "2048"},
            model=RERANKER_1B_OLD, notes=("NIM_MAX_BATCH_SIZE", "NIM_MAX_INPUT_LENGTH")),
    Attempt("6a", "the 500M model, batch 8, length 8192, profile 0",
            {"NIM_MAX_BATCH_SIZE": "8", "NIM_MAX_INPUT_LENGTH": "8192", "NIM_PROFILE_INDEX": "0"}, model=RERANKER_500M,
            notes=("NIM_MAX_BATCH_SIZE", "NIM_MAX_INPUT_LENGTH", "NIM_PROFILE_INDEX"),
            profile="cuda-bf16-t16384-s8192"),
    Attempt("6b", "the 500M model, profile 1", {"NIM_PROFILE_INDEX": "1"}, model=RERANKER_500M,
            notes=("NIM_PROFILE_INDEX",), profile="cuda-bf16-t8192-s8192"),
    Attempt("6c", "the 500M model with TensorRT off", {"NIM_DISABLE_TRT": "1", "NIM_BACKENDS": "python"},
            model=RERANKER_500M, notes=("NIM_DISABLE_TRT", "NIM_BACKENDS")),
    Attempt("7", "start it again and again", starts=5),
)


@dataclass(frozen=True)
class Logged:
    """A situation from his logs: calls of so many passages of 8192 tokens, while others take bytes of the card."""

    number: str
    log: str
    passages: tuple[int, ...]
    model: str = RERANKER_1B
    others_take_bytes: int = 0
    pinned: dict[str, str] = field(default_factory=dict)


LOGS = (
    Logged("A", "the selector jumps to profile 3 (batch 30, 8192 tokens)", passages=(30,)),
    Logged("B", "1.7.0: engine of 2.5 GB, profile 3, out of memory at 19 to 23 GB", passages=(30,),
           model=RERANKER_1B_OLD, others_take_bytes=18 << 30),
    Logged("C", "500M: profile 1 (batch 8), then profile 3, out of memory at 23 GB", passages=(8, 30),
           model=RERANKER_500M, others_take_bytes=18 << 30),
    Logged("D", "the pinned profile is recognised, and changed all the same", passages=(30,),
           pinned={"NIM_PROFILE_INDEX": "1"}),
)

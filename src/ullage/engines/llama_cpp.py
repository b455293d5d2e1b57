"""Generate text with llama.cpp inside this process, in memory that is taken before `load` returns."""

from __future__ import annotations

import gc
import os
import secrets
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from ullage.errors import EngineFailed, InvalidRequest, ModelCorrupt, ModelNotFound, NotReady, TooLong, UllageError

Chunk = dict[str, Any]
"""One streamed object in OpenAI's shape."""

Door = Literal["chat", "completion"]

SPIN_COUNT = "1000"
"""OpenMP's barriers spin this often before they sleep. The default spins for good: two threads on two busy cores then
generate 3 tokens a second instead of 25; on idle cores 1000 costs nothing."""


class LlamaCppEngine:
    """One GGUF model. `chat` may be called from `parallel` threads at once; each sequence has `context_tokens`."""

    def __init__(
        self, path: Path, *, context_tokens: int, threads: int, parallel: int = 1, batch_tokens: int = 256
    ) -> None:
        self.context_tokens = context_tokens
        self.parallel = parallel
        self._path = path
        self._threads = threads
        self._batch_tokens = min(batch_tokens, context_tokens)
        self._server: Any = None

    def load(self) -> None:
        """Map the weights, take the caches, and generate once from a prompt longer than one micro-batch.

        Raises ModelNotFound or ModelCorrupt.
        """
        if not self._path.is_file():
            raise ModelNotFound(f"no GGUF file at {self._path}")
        library = _library()
        with tempfile.TemporaryDirectory(prefix="ullage-") as folder:
            params = self._params(library, Path(folder) / "closed.sock")
            try:
                self._server = library.Server(params)
            except (RuntimeError, ValueError) as error:
                raise ModelCorrupt(f"llama.cpp cannot load {self._path}: {error}") from None
        self._first_run()

    def chat(self, request: dict[str, Any], on_chunk: Callable[[Chunk], None], stop: threading.Event) -> None:
        """Generate for `messages`; blocks until done, or until the token after `stop` is set.

        Raises TooLong, InvalidRequest, NotReady or EngineFailed.
        """
        self._generate("chat", request, on_chunk, stop)

    def complete(self, request: dict[str, Any], on_chunk: Callable[[Chunk], None], stop: threading.Event) -> None:
        """Generate after a raw `prompt`; otherwise as `chat`."""
        self._generate("completion", request, on_chunk, stop)

    def close(self) -> None:
        """Give the memory back. Idempotent; no call may be running."""
        self._server = None
        gc.collect()

    def _generate(
        self, door: Door, request: dict[str, Any], on_chunk: Callable[[Chunk], None], stop: threading.Event
    ) -> None:
        if self._server is None:
            raise NotReady("the model is not loaded")
        failures: list[BaseException] = []

        def take(chunk: Chunk) -> bool:
            """True ends the generation. The library swallows exceptions, so they are carried out by hand."""
            try:
                if "error" in chunk:
                    raise _failure(chunk["error"], self.context_tokens)
                if "prompt_progress" not in chunk:
                    on_chunk(chunk)
            except Exception as error:  # raised again below, in the caller's frame
                failures.append(error)
            return bool(failures) or stop.is_set()

        run = self._server.handle_chat_completions if door == "chat" else self._server.handle_completions
        try:
            run({**request, **_STREAMED}, take)
        except (ValueError, TypeError, RuntimeError) as error:
            raise InvalidRequest(f"llama.cpp refuses the request: {error}") from None
        if failures:
            raise failures.pop()  # popped, so that no cycle keeps the server alive

    def _first_run(self) -> None:
        words = min(self._batch_tokens + 16, self.context_tokens // 2)
        request = {"prompt": " a" * words, "max_tokens": 2, "temperature": 0.0}
        seen: list[Chunk] = []
        self.complete(request, seen.append, threading.Event())
        if not seen:
            raise EngineFailed(f"{self._path.name} generated nothing from a first prompt of {words} tokens")

    def _params(self, library: ModuleType, socket: Path) -> Any:
        """Everything that grows memory, listens or reaches out is off."""
        params = library.CommonParams()
        params.model.path = str(self._path)
        params.n_gpu_layers = 0
        params.n_parallel = self.parallel
        params.n_ctx = self.context_tokens * self.parallel
        params.n_batch = params.n_ubatch = self._batch_tokens
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self._threads
        params.cache_ram_mib = 0
        params.n_ctx_checkpoints = 0
        params.cache_idle_slots = False
        params.fit_params = False
        params.ctx_shift = False
        params.offline = True
        params.verbosity = -1
        # The library always opens a door of its own: it gets a socket file in a private folder, deleted once loaded.
        params.hostnames = [str(socket)]
        params.api_keys = [secrets.token_urlsafe(32)]
        params.ui = False
        params.endpoint_slots = False
        return params


_STREAMED: dict[str, Any] = {
    "stream": True,
    "stream_options": {"include_usage": True},
    # A chunk after every micro-batch of the prompt, so that a prompt can be stopped too.
    "return_progress": True,
    "cache_prompt": True,
}


def _library() -> ModuleType:
    """Import xllamacpp with OpenMP told to yield. Raises EngineFailed when a system library is missing."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    try:
        import xllamacpp
    except ImportError as error:
        raise EngineFailed(f"llama.cpp cannot be loaded: {error}; on Debian install libgomp1") from None
    module: ModuleType = xllamacpp
    return module


def _failure(error: dict[str, Any], context_tokens: int) -> UllageError:
    """An error object of llama.cpp as one of ours."""
    kind, message = error.get("type"), str(error.get("message", "no reason given"))
    if kind == "exceed_context_size_error":
        return TooLong(
            f"the prompt has {error.get('n_prompt_tokens')} tokens, the context holds {context_tokens}: shorten it"
        )
    if kind == "invalid_request_error":
        return InvalidRequest(f"llama.cpp refuses the request: {message}")
    return EngineFailed(f"llama.cpp failed: {message}")

"""CUDA graphs of the forward: launching its kernels one by one from Python takes longer than running most of them.

One graph a bucket of tokens. They read the same numbers and write the same workspace as any other forward, so a graph
costs its list of kernels and no activations.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ullage.engines.cuda_packed.layout import graph_spaces
from ullage.engines.cuda_packed.tensors import Packed, Tensor
from ullage.engines.cuda_packed.workspace import Model, Ops, Workspace


class Graphs:
    """`numbers` is the device memory that batches are described in: see `layout.write`."""

    def __init__(self, model: Model, ops: Ops, work: Workspace, numbers: Tensor, stream: Any) -> None:
        self._model = model
        self._ops = ops
        self._work = work
        self._numbers = numbers
        self._stream = stream
        self._pool: Any = None
        self._captured: dict[int, tuple[Any, Tensor]] = {}
        self.buckets: tuple[int, ...] = ()

    def capture(self, buckets: Sequence[int]) -> None:
        """Record the forward of each bucket. Every kernel must have run before, and no batch may be under way."""
        for tokens in sorted(buckets, reverse=True):
            room = graph_spaces(tokens)
            packed = Packed.view(self._numbers, room, np.zeros(0, np.int32))
            graph = torch.cuda.CUDAGraph()
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            graph.capture_begin(self._pool)
            try:
                found = self._model.forward(self._ops, packed, self._work)
            finally:
                graph.capture_end()
            self._captured[tokens] = (graph, found)
        self.buckets = tuple(sorted(self._captured))

    def upload(self) -> None:
        """Give the device every graph now, which its first replay would do: the memory is taken, and no time of it."""
        driver = ctypes.CDLL("libcuda.so.1")
        for graph, _ in self._captured.values():
            failed = driver.cuGraphUpload(ctypes.c_void_p(graph.raw_cuda_graph_exec()),
                                          ctypes.c_void_p(self._stream.cuda_stream))
            if failed:
                raise RuntimeError(f"cuGraphUpload failed: CUDA error {failed}")

    def replay(self, tokens: int) -> Tensor:
        """Run the graph of a bucket over what the numbers describe now. Gives [rows of the bucket, width]."""
        graph, found = self._captured[tokens]
        graph.replay()
        return found

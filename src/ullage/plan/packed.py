"""Predicted memory of an encoder on the packed PyTorch engine: on a GPU, and of the process on the host.

Weights and the workspace are formulas of the shape, and the engine takes its memory by the same ones. The constants
were measured on a whole device (`ullage bench gpu-memory`), so that the CUDA context and the libraries count.
"""

from __future__ import annotations

import math

from ullage.models.card import Card
from ullage.models.shape import Family, Parameters, Shape
from ullage.plan.profile import Ledger, Profile

MIB = 1 << 20
ONE_BYTE = ("int8", "fp8")
"""Precisions in which a weight takes one byte, the more exact one first."""

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1, "fp8": 1}
MULTIPLIED = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 2, "fp8": 1}
"""Bytes of an activation when it is multiplied by a matrix."""

KEPT = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 2, "fp8": 2}
"""Bytes of an activation."""

INT8_GROUP = 64
"""Columns of a row that share a scale, of two bytes. Whole rows cost twice the precision on trained weights."""

EXPANDED_BYTES = 32 * MIB
"""An int8 matrix is multiplied out into a room of at most so many bytes, which stays in the chip's cache."""

CONTEXT_BYTES = dict.fromkeys(ONE_BYTE, 430 * MIB)
OTHER_CONTEXT_BYTES = 493 * MIB
"""CUDA context, the kernels that were loaded into it, and what the matrix library holds of its own: less where weights
take one byte, as there it was told to hold less (`engines/cuda_packed/memory.py`), which was measured to cost no time.
"""

LIBRARY_BYTES = 34 * MIB
"""Workspace of the matrix library (32 MiB on Hopper)."""

NODE_BYTES = 2800
"""Of one kernel in a captured graph."""

HOST_BYTES = 1400 * MIB
"""Python with PyTorch, its CUDA libraries as far as they are touched, and the server."""

HOST_CPU_BYTES = 500 * MIB
"""The same without CUDA."""

CHUNKS = 4
LEAST_CHUNK_TOKENS, MOST_CHUNK_TOKENS = 2048, 4096
"""Token-wise work runs over a quarter of the largest batch at a time, within these bounds: larger chunks are faster,
and their inner layer takes memory. A profile that spares memory (tables on the host) takes the smallest."""

GRAPH_STEPS = ((256, 64), (1024, 128), (10240, 256), (1 << 30, 512))
SPARING_GRAPH_STEPS = ((256, 64), (1024, 128), (4096, 256), (8192, 512), (1 << 30, 1024))
"""Up to how many tokens of a batch there is a CUDA graph at every so many. Padding costs less than launching each
kernel of a batch from Python."""

STEP_TOKENS = 128
"""On a GPU the tokens of a batch are rounded up to a multiple of this."""

KERNELS_PER_CHUNK = {"int8": 10, "fp8": 12}
OTHER_KERNELS_PER_CHUNK = 8
"""Of one layer, with what the matrix library adds."""

TILE_TOKENS = 128
"""Queries of one attention tile."""

MAX_ROWS = 1024
"""Rows of one forward; more run as several."""

BARE_HEADS: tuple[Family, ...] = ("llama-bidirectional",)
"""Families whose head is one matrix; the others need room for what is between two."""

TURNS: dict[Family, int] = {"llama-bidirectional": 1, "modernbert": 2}
"""Tables of rotary positions."""

GATED: tuple[Family, ...] = ("llama-bidirectional", "modernbert", "qwen3")


def chunk_tokens(max_tokens: int, *, sparing: bool) -> int:
    """Tokens of one chunk of token-wise work. `sparing` is a profile with its tables on the host."""
    most = LEAST_CHUNK_TOKENS if sparing else min(MOST_CHUNK_TOKENS, max(LEAST_CHUNK_TOKENS, max_tokens // CHUNKS))
    return min(most, rounded(max_tokens))


def rounded(tokens: int) -> int:
    """As many tokens as a batch on a GPU is padded to."""
    return -(-tokens // STEP_TOKENS) * STEP_TOKENS


def graph_buckets(max_tokens: int, *, sparing: bool) -> tuple[int, ...]:
    """Tokens of the graphs of an engine, ascending; the last one holds the largest batch."""
    largest = rounded(max_tokens)
    found, tokens = [], 0
    while tokens < largest:
        tokens += next(step for until, step in (SPARING_GRAPH_STEPS if sparing else GRAPH_STEPS) if tokens < until)
        found.append(min(tokens, largest))
    return tuple(found)


def graph_bytes(layers: int, precision: str, max_tokens: int, *, sparing: bool) -> int:
    """Of all captured graphs, by the kernels in them: for each layer two over all tokens, the others for each chunk."""
    per_chunk = KERNELS_PER_CHUNK.get(precision, OTHER_KERNELS_PER_CHUNK)
    chunk = chunk_tokens(max_tokens, sparing=sparing)
    kernels = sum(2 + per_chunk * -(-tokens // chunk) for tokens in graph_buckets(max_tokens, sparing=sparing))
    return layers * kernels * NODE_BYTES


def workspace(
    shape: Shape, family: Family, precision: str, max_tokens: int, max_sequence: int, *, sparing: bool = False
) -> dict[str, int]:
    """Bytes of each part of what a forward of the largest batch writes into.

    `residual` is the stream of hidden states. `shared` holds queries, keys and values of all tokens, then the inner
    layer of one chunk of tokens, then the sums of pooling and the pooled rows. `operand` is the input of one chunk.
    """
    size = KEPT[precision]
    tokens = rounded(max_tokens)
    chunk = chunk_tokens(max_tokens, sparing=sparing)
    rows = most_rows(tokens)
    tiles = tokens // TILE_TOKENS + rows + TILE_TOKENS
    wide = shape.head_dim * (shape.heads + 2 * shape.kv_heads)
    attended = max(shape.hidden, shape.head_dim * shape.heads)
    inner = chunk * shape.ffn * (2 * size if family in GATED else size)
    activated = chunk * (shape.ffn * MULTIPLIED[precision] + 4)
    sums = tiles * shape.hidden * 4 + pooled_bytes(shape, family, rows)
    return {
        "residual": tokens * shape.hidden * size,
        "shared": max(tokens * wide * size, inner + activated, sums),
        "operand": chunk * (attended * MULTIPLIED[precision] + 4),
        "numbers": (3 * tokens + 3 * tiles + 3 * rows) * 4,
        "turns": TURNS.get(family, 0) * max_sequence * shape.head_dim * 4,
    }


def pooled_bytes(shape: Shape, family: Family, rows: int) -> int:
    """Of pooled rows, fp32, and of what is between the matrices of a head."""
    return rows * shape.hidden * 4 * (1 if family in BARE_HEADS else 2)


def most_rows(tokens: int) -> int:
    """Rows of a forward of that many tokens: a power of two, as the matrices of a head come in few shapes."""
    return min(MAX_ROWS, 1 << (tokens - 1).bit_length())


def weight_bytes(counted: Parameters, precision: str, *, host_embedding: bool) -> int:
    """Bytes on the device. In FP8 and int8 the matrices of the layers have one byte a weight and the tables int8; what
    follows the last layer is fp32. FP8's scales and the norms' fp32 add less than one per cent and are counted as
    that; int8 has a scale for each group."""
    table = 0 if host_embedding else counted.tables * BYTES[precision]
    scales = counted.layers // INT8_GROUP * KEPT[precision] if precision == "int8" else 0
    return table + counted.layers * BYTES[precision] + scales + counted.layers // 2048 * 4 + counted.head * 4


def int8_group(columns: int) -> int:
    """Columns of an int8 row that share a scale."""
    return math.gcd(columns, INT8_GROUP)


def int8_rows_at_once(rows: int, columns: int) -> int:
    """Rows of an int8 matrix [rows, columns] that are multiplied out at a time."""
    return min(rows, max(1, EXPANDED_BYTES // (columns * KEPT["int8"])))


def expanded_bytes(shape: Shape, family: Family, precision: str) -> int:
    """Of the room into which the layers' matrices are multiplied out, one after the other."""
    if precision != "int8":
        return 0
    inner = (2 if family in GATED else 1) * shape.ffn
    wide = shape.head_dim * (shape.heads + 2 * shape.kv_heads)
    attended = shape.head_dim * shape.heads
    matrices = ((wide, shape.hidden), (shape.hidden, attended), (inner, shape.hidden), (shape.hidden, shape.ffn))
    return max(int8_rows_at_once(*matrix) * matrix[1] for matrix in matrices) * KEPT[precision]


def layer_weights(card: Card) -> int:
    """Parameters of all layers."""
    return card.parameters.layers


def table_weights(card: Card) -> int:
    """Parameters of the embedding tables: words, and positions and types where the family has them."""
    return card.parameters.tables


def packed_gpu_ledger(card: Card, profile: Profile) -> Ledger:
    """Bytes on the GPU, device-wide, for one engine."""
    return Ledger(
        fixed=CONTEXT_BYTES.get(profile.precision, OTHER_CONTEXT_BYTES),
        weights=weight_bytes(card.parameters, profile.precision, host_embedding=profile.host_embedding),
        activations=sum(_workspace(card, profile).values()) + expanded_bytes(card.shape, card.family,
                                                                             profile.precision),
        slack=LIBRARY_BYTES + graph_bytes(
            card.shape.layers, profile.precision, profile.max_tokens, sparing=profile.host_embedding),
    )


def packed_host_ledger(card: Card, profile: Profile) -> Ledger:
    """Resident bytes of the process that drives the GPU. Pinned tables count."""
    table = card.parameters.tables * KEPT[profile.precision] if profile.host_embedding else 0
    return Ledger(fixed=HOST_BYTES, weights=table)


def packed_cpu_ledger(card: Card, profile: Profile) -> Ledger:
    """Resident bytes of the process when the same code runs on the CPU."""
    return Ledger(
        fixed=HOST_CPU_BYTES,
        weights=weight_bytes(card.parameters, profile.precision, host_embedding=False),
        activations=sum(_workspace(card, profile).values()),
    )


def _workspace(card: Card, profile: Profile) -> dict[str, int]:
    return workspace(card.shape, card.family, profile.precision, profile.max_tokens, profile.max_sequence,
                     sparing=profile.host_embedding)

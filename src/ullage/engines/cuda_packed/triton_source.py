"""The GPU kernels themselves, in Triton's dialect. `triton_ops.py` says what each of them computes.

Whatever varies from batch to batch is a plain argument that Triton does not specialise on, so nothing is compiled
after the engine is ready. Sums are fp32.
"""
# Triton's dialect is Python in form only.
# mypy: ignore-errors
# ruff: noqa: N803, ANN

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def look_up(table, scales, index, out, HIDDEN: tl.constexpr, BLOCK: tl.constexpr, ADD: tl.constexpr,
            SCALED: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    place = tl.load(index + row).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < HIDDEN
    value = tl.load(table + place * HIDDEN + columns, mask=inside, other=0.0).to(tl.float32)
    if SCALED:
        value *= tl.load(scales + place)
    if ADD:
        value += tl.load(out + row * HIDDEN + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * HIDDEN + columns, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def expand(values, scales, out, GROUPS: tl.constexpr, GROUP: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    groups = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[:, None]
    inside = groups < GROUPS
    at = row * (GROUPS * GROUP) + groups * GROUP + tl.arange(0, GROUP)[None, :]
    value = tl.load(values + at, mask=inside, other=0).to(tl.float32)
    value *= tl.load(scales + row * GROUPS + groups, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _keep(out, scales, row, columns, inside, value, WIDTH: tl.constexpr, QUANT: tl.constexpr):
    if QUANT:
        largest = tl.max(tl.abs(tl.where(inside, value, 0.0)), axis=0)
        scale = tl.maximum(largest / 448.0, 1e-12)
        tl.store(scales + row, scale)
        value = tl.minimum(tl.maximum(value / scale, -448.0), 448.0)
    tl.store(out + row * WIDTH + columns, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _normal(value, inside, weight, shift, columns, epsilon, HIDDEN: tl.constexpr, CENTRED: tl.constexpr,
            SHIFTED: tl.constexpr):
    if CENTRED:
        value -= tl.sum(value, axis=0) / HIDDEN
        value = tl.where(inside, value, 0.0)
    value *= tl.rsqrt(tl.sum(value * value, axis=0) / HIDDEN + epsilon)
    value *= tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    if SHIFTED:
        value += tl.load(shift + columns, mask=inside, other=0.0).to(tl.float32)
    return value


@triton.jit
def normalise(x, weight, shift, bias, out, scales, epsilon, HIDDEN: tl.constexpr, BLOCK: tl.constexpr,
              CENTRED: tl.constexpr, SHIFTED: tl.constexpr, BIASED: tl.constexpr, QUANT: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < HIDDEN
    value = tl.load(x + row * HIDDEN + columns, mask=inside, other=0.0).to(tl.float32)
    if BIASED:
        value += tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    value = _normal(value, inside, weight, shift, columns, epsilon, HIDDEN, CENTRED, SHIFTED)
    _keep(out, scales, row, columns, inside, value, HIDDEN, QUANT)


@triton.jit
def quantise(x, stride, out, scales, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < WIDTH
    value = tl.load(x + row * stride + columns, mask=inside, other=0.0).to(tl.float32)
    _keep(out, scales, row, columns, inside, value, WIDTH, True)


@triton.jit
def _act(value, KIND: tl.constexpr):
    if KIND == "silu":
        return value * tl.sigmoid(value)
    if KIND == "gelu":
        return 0.5 * value * (1.0 + tl.erf(value * 0.7071067811865476))
    if KIND == "gelu_tanh":
        return value * tl.sigmoid(1.5957691216057308 * (value + 0.044715 * value * value * value))
    return tl.maximum(value, 0.0)


@triton.jit
def activate(x, out, scales, stride, WIDTH: tl.constexpr, BLOCK: tl.constexpr, KIND: tl.constexpr,
             GATED: tl.constexpr, QUANT: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < WIDTH
    value = _act(tl.load(x + row * stride + columns, mask=inside, other=0.0).to(tl.float32), KIND)
    if GATED:
        value *= tl.load(x + row * stride + WIDTH + columns, mask=inside, other=0.0).to(tl.float32)
    _keep(out, scales, row, columns, inside, value, WIDTH, QUANT)


@triton.jit
def rotate(qkv, positions, turns, stride, HEADS: tl.constexpr, HALF: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    place = tl.load(positions + row).to(tl.int64)
    heads = tl.arange(0, BLOCK)[:, None]
    columns = tl.arange(0, HALF)[None, :]
    inside = heads < HEADS
    cosine = tl.load(turns + place * 2 * HALF + columns)
    sine = tl.load(turns + place * 2 * HALF + HALF + columns)
    at = qkv + row * stride + heads * (2 * HALF) + columns
    first = tl.load(at, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(at + HALF, mask=inside, other=0.0).to(tl.float32)
    tl.store(at, (first * cosine - second * sine).to(qkv.dtype.element_ty), mask=inside)
    tl.store(at + HALF, (second * cosine + first * sine).to(qkv.dtype.element_ty), mask=inside)


@triton.jit
def _some_keys(total, denominator, largest, query, keys, values, first, end, rows, scale, window, stride,
               SIZE: tl.constexpr, KEYS: tl.constexpr, MASKED: tl.constexpr, WINDOWED: tl.constexpr):
    columns = tl.arange(0, SIZE)
    places = first + tl.arange(0, KEYS)
    offset = places.to(tl.int64)[:, None] * stride + columns[None, :]
    if MASKED:
        inside = places < end
        key = tl.load(keys + offset, mask=inside[:, None], other=0.0)
        value = tl.load(values + offset, mask=inside[:, None], other=0.0)
    else:
        key = tl.load(keys + offset)
        value = tl.load(values + offset)
    product = tl.dot(query, key.T, input_precision="ieee")
    if MASKED:
        product = tl.where(inside[None, :], product, float("-inf"))
    if WINDOWED:
        apart = rows[:, None] - places[None, :]
        product = tl.where((apart <= window) & (apart >= -window), product, float("-inf"))
    now = tl.maximum(largest, tl.max(product, axis=1) * scale)
    # A block may hold no key of a query's window.
    safe = tl.where(now == float("-inf"), 0.0, now) if WINDOWED else now
    share = tl.exp2(product * scale - safe[:, None])
    shrink = tl.exp2(largest - safe)
    denominator = denominator * shrink + tl.sum(share, axis=1)
    total = total * shrink[:, None]
    total = tl.dot(share.to(value.dtype), value, total, input_precision="ieee")
    return total, denominator, now


@triton.jit
def attend(qkv, tiles, stride, scale, window, HEADS: tl.constexpr, GROUP: tl.constexpr, SIZE: tl.constexpr,
           QUERIES: tl.constexpr, KEYS: tl.constexpr, WINDOWED: tl.constexpr):
    head = tl.program_id(0)
    tile = tl.program_id(1)
    begin = tl.load(tiles + 3 * tile)
    end = tl.load(tiles + 3 * tile + 1)
    first = tl.load(tiles + 3 * tile + 2)
    if begin < end:
        columns = tl.arange(0, SIZE)
        rows = first + tl.arange(0, QUERIES)
        at = qkv + rows.to(tl.int64)[:, None] * stride + head * SIZE + columns[None, :]
        query = tl.load(at, mask=rows[:, None] < end, other=0.0)
        keys = qkv + (HEADS + head // GROUP) * SIZE
        values = keys + (HEADS // GROUP) * SIZE
        largest = tl.full([QUERIES], float("-inf"), tl.float32)
        denominator = tl.zeros([QUERIES], tl.float32)
        total = tl.zeros([QUERIES, SIZE], tl.float32)
        last = end
        if WINDOWED:
            begin = tl.maximum(begin, first - window)
            last = tl.minimum(end, first + QUERIES + window)
        whole = begin + (last - begin) // KEYS * KEYS
        for place in range(begin, whole, KEYS):
            total, denominator, largest = _some_keys(
                total, denominator, largest, query, keys, values, place, end, rows, scale, window, stride,
                SIZE, KEYS, False, WINDOWED)
        if whole < last:
            total, denominator, largest = _some_keys(
                total, denominator, largest, query, keys, values, whole, last, rows, scale, window, stride,
                SIZE, KEYS, True, WINDOWED)
        # Only this program reads these queries, so its result may take their place.
        tl.store(at, (total / denominator[:, None]).to(qkv.dtype.element_ty), mask=rows[:, None] < end)


@triton.jit
def sum_tile(x, tiles, weight, shift, out, epsilon, HIDDEN: tl.constexpr, BLOCK: tl.constexpr, TOKENS: tl.constexpr,
             STEP: tl.constexpr, NORMED: tl.constexpr, CENTRED: tl.constexpr, SHIFTED: tl.constexpr):
    tile = tl.program_id(0).to(tl.int64)
    end = tl.load(tiles + 3 * tile + 1)
    first = tl.load(tiles + 3 * tile + 2)
    columns = tl.arange(0, BLOCK)[None, :]
    inside = columns < HIDDEN
    total = tl.zeros([BLOCK], tl.float32)
    last = tl.minimum(end, first + TOKENS)
    for place in range(first, last, STEP):
        rows = (place + tl.arange(0, STEP))[:, None]
        there = inside & (rows < last)
        value = tl.load(x + rows.to(tl.int64) * HIDDEN + columns, mask=there, other=0.0).to(tl.float32)
        if NORMED:
            if CENTRED:
                value -= tl.sum(value, axis=1)[:, None] / HIDDEN
                value = tl.where(there, value, 0.0)
            value *= tl.rsqrt(tl.sum(value * value, axis=1) / HIDDEN + epsilon)[:, None]
            value *= tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
            if SHIFTED:
                value += tl.load(shift + columns, mask=inside, other=0.0).to(tl.float32)
                value = tl.where(there, value, 0.0)
        total += tl.sum(value, axis=0)
    flat = tl.arange(0, BLOCK)
    tl.store(out + tile * HIDDEN + flat, total, mask=flat < HIDDEN)


@triton.jit
def mean_of_tiles(partial, rows, out, HIDDEN: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    first = tl.load(rows + 3 * row)
    count = tl.load(rows + 3 * row + 1)
    tokens = tl.maximum(tl.load(rows + 3 * row + 2), 1)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < HIDDEN
    total = tl.zeros([BLOCK], tl.float32)
    for tile in range(first, first + count):
        total += tl.load(partial + tile * HIDDEN + columns, mask=inside, other=0.0)
    tl.store(out + row * HIDDEN + columns, total / tokens, mask=inside)


@triton.jit
def first_of_rows(x, tiles, rows, weight, shift, out, epsilon, HIDDEN: tl.constexpr, BLOCK: tl.constexpr,
                  NORMED: tl.constexpr, CENTRED: tl.constexpr, SHIFTED: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    tile = tl.load(rows + 3 * row)
    token = tl.load(tiles + 3 * tile).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < HIDDEN
    value = tl.load(x + token * HIDDEN + columns, mask=inside, other=0.0).to(tl.float32)
    if NORMED:
        value = _normal(value, inside, weight, shift, columns, epsilon, HIDDEN, CENTRED, SHIFTED)
    tl.store(out + row * HIDDEN + columns, value, mask=inside)


@triton.jit
def score(pooled, head, out, temperature, HIDDEN: tl.constexpr, BLOCK: tl.constexpr, LABELS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    label = tl.program_id(1)
    columns = tl.arange(0, BLOCK)
    inside = columns < HIDDEN
    value = tl.load(pooled + row * HIDDEN + columns, mask=inside, other=0.0)
    weight = tl.load(head + label * HIDDEN + columns, mask=inside, other=0.0)
    tl.store(out + row * LABELS + label, tl.sum(value * weight, axis=0) / temperature)

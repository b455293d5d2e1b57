"""Headers as llama.cpp writes them, and every way they can lie."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ullage.errors import ModelCorrupt, ModelError, ModelNotFound, ModelUnsupported
from ullage.models.card import find_card
from ullage.models.files import locate
from ullage.models.gguf import card_from_gguf, read_header
from ullage.models.resolve import resolve

LLAMA: dict[str, Any] = {
    "general.architecture": "llama", "general.name": "Tiny", "general.file_type": 15, "general.license": "mit",
    "llama.block_count": 2, "llama.embedding_length": 64, "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2, "llama.feed_forward_length": 96, "llama.context_length": 512,
    "tokenizer.ggml.tokens": ["a", "b", "c"],
}
TENSORS = {"token_embd.weight": ((64, 3), 0, 0), "output.weight": ((64, 3), 8, 768)}
"""Name -> (shape, type, offset): one of fp32, one of q8_0."""


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str, value: Any) -> bytes:
    if isinstance(value, str):
        return text(key) + struct.pack("<I", 8) + text(value)
    if isinstance(value, int):
        return text(key) + struct.pack("<II", 4, value)
    if all(isinstance(each, str) for each in value):
        return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    return text(key) + struct.pack("<IIQ", 9, 4, len(value)) + b"".join(struct.pack("<I", each) for each in value)


def gguf(pairs: dict[str, Any] | None = None, tensors: dict[str, Any] | None = None, data: int = 1200) -> bytes:
    pairs, tensors = LLAMA if pairs is None else pairs, TENSORS if tensors is None else tensors
    made = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pair(*each) for each in pairs.items())
    for name, (shape, kind, offset) in tensors.items():
        made += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        made += struct.pack("<IQ", kind, offset)
    return made + b"\0" * (-len(made) % 32 + data)


ONE_PAIR = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k")


def written(folder: Path, content: bytes, name: str = "tiny.gguf") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def test_the_bundled_file_says_what_its_card_says(model_cache: Path) -> None:
    card = find_card("smollm2-135m-instruct", "llm")
    path = locate(card, model_cache)["weights"]
    found = resolve(str(path), "llm")
    assert (found.shape, found.precision, found.max_sequence) == (card.shape, card.precision, card.max_sequence)
    assert (found.weights_bytes, found.revision) == (card.weights_bytes, card.revision)
    assert found.parameters == card.parameters
    assert locate(found, model_cache) == {"weights": path}


def test_the_engine_opens_what_the_card_names(model_cache: Path) -> None:
    from ullage.engines.llama_cpp import LlamaCppEngine

    path = locate(find_card("smollm2-135m-instruct", "llm"), model_cache)["weights"]
    found = locate(resolve(str(path), "llm"), model_cache)["weights"]
    engine = LlamaCppEngine(found, context_tokens=256, threads=1)
    try:
        engine.load()
    finally:
        engine.close()


def test_a_header_becomes_a_card(tmp_path: Path) -> None:
    path = written(tmp_path, gguf())
    card = card_from_gguf(path)
    assert (card.name, card.role, card.kind, card.precision) == ("tiny", "llm", "llm", "q4_k_m")
    assert (card.licence, card.backends, card.not_servable) == ("mit", ("llama.cpp",), "")
    shape = card.shape
    assert (shape.layers, shape.hidden, shape.heads, shape.kv_heads, shape.head_dim) == (2, 64, 4, 2, 16)
    assert (shape.ffn, shape.positions, shape.vocab, shape.tied_head) == (96, 512, 3, False)
    assert card.stated_parameters == 2 * 64 * 3
    assert card.weights_bytes == path.stat().st_size
    assert str(path) in card.aliases


def test_where_layers_differ_the_largest_counts(tmp_path: Path) -> None:
    changed = {"llama.attention.head_count_kv": [2, 0, 4], "llama.feed_forward_length": [1, 200],
               "llama.attention.key_length": 32, "general.file_type": 1000}
    card = card_from_gguf(written(tmp_path, gguf(LLAMA | changed, {"token_embd.weight": ((64, 3), 0, 0)})))
    assert (card.shape.kv_heads, card.shape.ffn, card.shape.head_dim, card.shape.tied_head) == (4, 200, 32, True)
    assert card.precision == "other"


@pytest.mark.parametrize(("key", "value", "said"), [
    ("general.architecture", None, "has no general.architecture"),
    ("llama.block_count", None, "llama.block_count=None"),
    ("llama.block_count", 0, "llama.block_count=0"),
    ("llama.context_length", "many", "llama.context_length='many'"),
    ("llama.embedding_length", [], "llama.embedding_length=None"),
    ("llama.embedding_length", 4_000_000_000, "llama.embedding_length=4000000000"),
    ("tokenizer.ggml.tokens", None, "no tokenizer.ggml.tokens and no llama.vocab_size"),
    ("general.alignment", 0, "aligns its tensors to 0"),
])
def test_a_header_without_what_is_needed(tmp_path: Path, key: str, value: Any, said: str) -> None:
    pairs = LLAMA | {key: value}
    if value is None:
        del pairs[key]
    refused(written(tmp_path, gguf(pairs)), ModelCorrupt, said)


def refused(path: Path, kind: type[ModelError], said: str) -> None:
    with pytest.raises(kind, match=said) as caught:
        card_from_gguf(path)
    assert "\n" not in str(caught.value)


def test_models_that_write_no_text(tmp_path: Path) -> None:
    refused(written(tmp_path, gguf(LLAMA | {"general.architecture": "bert"})), ModelUnsupported, "is a bert model")
    refused(written(tmp_path, gguf(LLAMA | {"general.type": "adapter"})), ModelUnsupported, "is a llama adapter")


def test_no_file_and_no_gguf(tmp_path: Path) -> None:
    refused(tmp_path / "none.gguf", ModelNotFound, "no GGUF file at")
    refused(written(tmp_path, b""), ModelCorrupt, "begins with b''")
    refused(written(tmp_path, b"PK\x03\x04" + b"x" * 100), ModelCorrupt, r"begins with b'PK")
    refused(written(tmp_path, b"GGUF" + struct.pack("<IQQ", 1, 0, 0)), ModelCorrupt, "is of version 1")
    refused(tmp_path, ModelUnsupported, "is a folder")
    with pytest.raises(ModelCorrupt, match="begins with"):
        resolve(str(written(tmp_path, b"not a model", "model.bin")), "llm")


@pytest.mark.parametrize(("made", "said"), [
    (b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 0), r"counts \d+ tensors"),
    (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 40), r"counts \d+ pairs"),
    (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 60), r"counts \d+ bytes of text"),
    (ONE_PAIR + struct.pack("<IQ", 8, 1 << 60), r"counts \d+ bytes of text"),
    (ONE_PAIR + struct.pack("<IIQ", 9, 4, 1 << 60), r"counts \d+ values, more"),
    (ONE_PAIR + struct.pack("<IIQ", 9, 9, 1), "is an array of type 9"),
    (ONE_PAIR + struct.pack("<I", 77), "has a value of type 77"),
    (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text("t") + struct.pack("<I", 99), "has 99 axes"),
    (gguf(tensors={"t": ((1 << 60, 1 << 60), 0, 0)}), "ends 9223372036854775808 after"),
    (gguf(tensors={"t": ((4,), 0, 1 << 62)}), "fetch it again"),
    (gguf(data=800), "its tensors end at byte .*: fetch it again"),
])
def test_counts_that_cannot_be(tmp_path: Path, made: bytes, said: str) -> None:
    refused(written(tmp_path, made), ModelCorrupt, said)


@pytest.mark.parametrize("length", range(0, 700, 7))
def test_cut_anywhere(tmp_path: Path, length: int) -> None:
    refused(written(tmp_path, gguf()[:length]), ModelCorrupt, "is not a whole GGUF file")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(place=st.integers(0, 600), new=st.binary(min_size=1, max_size=12))
def test_damaged_anywhere_it_is_read_or_refused(tmp_path: Path, place: int, new: bytes) -> None:
    whole = bytearray(gguf())
    whole[place : place + len(new)] = new
    path = written(tmp_path, bytes(whole))
    try:
        header = read_header(path)
        card_from_gguf(path)
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        assert header.weights >= 0


def test_parts_of_one_model(tmp_path: Path) -> None:
    first = written(tmp_path, gguf(), "m-00001-of-00002.gguf")
    refused(first, ModelNotFound, "m-00002-of-00002.gguf, a part of m-00001-of-00002.gguf, is not there")
    part = gguf({}, {"blk.0.ffn_up.weight": ((64, 96), 1, 0)}, data=64 * 96 * 2)
    second = written(tmp_path, part, "m-00002-of-00002.gguf")
    card = card_from_gguf(first)
    assert card.weights_bytes == first.stat().st_size + second.stat().st_size
    assert card.stated_parameters == 2 * 64 * 3 + 64 * 96
    assert locate(card, tmp_path) == {"weights": first}
    refused(second, ModelUnsupported, "is part 2 of 2: give the first one")

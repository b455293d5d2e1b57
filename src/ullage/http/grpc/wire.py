"""Tensors and parameters of KServe v2 to Python and back."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ullage.errors import InvalidRequest
from ullage.http.grpc import kserve_pb2 as pb
from ullage.http.grpc.model import KserveModel, Parameters

DATATYPES = {np.dtype(np.int32): "INT32", np.dtype(np.float32): "FP32", np.dtype(np.int8): "INT8",
             np.dtype(np.uint8): "UINT8"}


def read_texts(request: pb.ModelInferRequest, model: KserveModel) -> dict[str, list[str]]:
    """The texts of each input. Raises InvalidRequest for anything that is not a batch of them."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidRequest(f"{len(raw)} raw_input_contents for {len(request.inputs)} inputs: give one for each")
    known = {tensor.name: tensor for tensor in model.inputs}
    found: dict[str, list[str]] = {}
    for place, tensor in enumerate(request.inputs):
        if tensor.name not in known or tensor.name in found:
            raise InvalidRequest(f"input {tensor.name!r}: this model takes {', '.join(known)}, each once")
        wanted = known[tensor.name].datatype
        if tensor.datatype != wanted:
            raise InvalidRequest(f"input {tensor.name} is {tensor.datatype or 'untyped'}: it must be {wanted}")
        if wanted == "FP32":
            found[tensor.name] = _numbers(raw[place] if raw else None, tensor, known[tensor.name].shape[0])
            continue
        elements = _elements(raw[place], tensor.name) if raw else list(tensor.contents.bytes_contents)
        found[tensor.name] = _texts(elements, tensor, model.max_batch_size)
    missing = [name for name, tensor in known.items() if name not in found and not tensor.optional]
    if missing:
        raise InvalidRequest(f"input {missing[0]} is missing: this model takes {', '.join(known)}")
    if len({len(texts) for texts in found.values()}) > 1:
        sizes = ", ".join(f"{name} {len(texts)}" for name, texts in found.items())
        raise InvalidRequest(f"inputs are of different batch sizes ({sizes}): give one of each for every row")
    return found


def _numbers(raw: bytes | None, tensor: Any, columns: int) -> list[str]:
    """Rows of numbers as texts, divided by blanks."""
    values = list(tensor.contents.fp32_contents) if raw is None else np.frombuffer(
        raw[: len(raw) // 4 * 4], "<f4").tolist()
    shape = list(tensor.shape)
    if len(shape) != 2 or shape[1] != columns or shape[0] * columns != len(values) or not values:
        raise InvalidRequest(f"input {tensor.name} has shape {shape} and {len(values)} numbers: give [batch, "
                             f"{columns}]")
    return [" ".join(map(str, values[at : at + columns])) for at in range(0, len(values), columns)]


def _texts(elements: Sequence[bytes], tensor: Any, most: int) -> list[str]:
    shape = list(tensor.shape)
    if not shape or shape[1:] not in ([], [1]) or shape[0] != len(elements) or not elements:
        raise InvalidRequest(f"input {tensor.name} has shape {shape} and {len(elements)} elements: give [batch, 1]")
    if len(elements) > most:
        raise InvalidRequest(f"inference request batch-size must be <= {most}, and is {len(elements)}")
    try:
        texts = [element.decode("utf-8") for element in elements]
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"input {tensor.name} is not UTF-8: {error.reason} at byte {error.start}") from None
    for row, text in enumerate(texts):
        if not text:
            raise InvalidRequest(f"input {tensor.name}, row {row}, is empty: give a text")
    return texts


def _elements(raw: bytes, name: str) -> list[bytes]:
    """BYTES as they lie in a raw tensor: each after its length, four bytes little-endian."""
    found = []
    at = 0
    while at < len(raw):
        size = struct.unpack_from("<I", raw, at)[0] if at + 4 <= len(raw) else len(raw)
        if at + 4 + size > len(raw):
            raise InvalidRequest(f"input {name}: its raw bytes end within an element at byte {at}")
        found.append(raw[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def read_parameters(given: Mapping[str, pb.InferParameter]) -> Parameters:
    found: dict[str, bool | int | float | str] = {}
    for name, value in given.items():
        kind = value.WhichOneof("parameter_choice")
        if kind is None:
            raise InvalidRequest(f"parameter {name} has no value")
        found[name] = getattr(value, kind)
    return found


def write_outputs(
    response: pb.ModelInferResponse, outputs: Mapping[str, np.ndarray[Any, Any]], wanted: Sequence[str]
) -> None:
    """Put the `wanted` outputs, or all, into `response`, raw. Raises InvalidRequest for one there is not."""
    for name in wanted or list(outputs):
        if name not in outputs:
            raise InvalidRequest(f"output {name!r}: this model gives {', '.join(outputs)}")
        values = outputs[name]
        if values.dtype == object:
            response.outputs.add(name=name, datatype="BYTES", shape=values.shape)
            response.raw_output_contents.append(b"".join(
                struct.pack("<I", len(element)) + element for element in values.ravel()))
            continue
        response.outputs.add(name=name, datatype=DATATYPES[values.dtype], shape=values.shape)
        little = values.dtype.newbyteorder("<")
        response.raw_output_contents.append(np.ascontiguousarray(values, little).tobytes())


def write_parameters(response: pb.ModelInferResponse, parameters: Parameters) -> None:
    for name, value in parameters.items():
        if isinstance(value, str):
            response.parameters[name].string_param = value
        elif isinstance(value, bool):
            response.parameters[name].bool_param = value
        elif isinstance(value, int):
            response.parameters[name].int64_param = value
        else:
            response.parameters[name].double_param = value

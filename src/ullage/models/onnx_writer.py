"""Write an ONNX graph node by node; the weights go to a file beside it as they come, so that only one is in memory.

Names of values are counted, never random: the same calls write the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
"""Has LayerNormalization and Gelu; read by every ONNX Runtime since 1.17."""

IR_VERSION = 9
ALIGNMENT = 4096
"""External tensors start on a page, so that the runtime can map them."""

INLINE_BYTES = 1024

Form = Literal["fp32", "int8-weights", "int8-dynamic"]
"""How matrices of layers are stored and multiplied. int8 has one scale for each column. "int8-weights" are expanded by
a DequantizeLinear, which OpenVINO multiplies without expanding; "int8-dynamic" are products of ONNX Runtime's own that
quantise their input too, with one scale over all of it."""

RUNTIME_DOMAIN = "com.microsoft"


class OnnxWriter:
    """A graph whose values are [rows, tokens, ...] fp32. Methods return the name of the value they made.

    Use as a context; the graph is written when it ends without an error. `form` may change while it is written.
    """

    def __init__(self, path: Path, form: Form = "fp32") -> None:
        self.form: Form = form
        self._path = path
        self._data_path = path.with_name(path.name + ".data")
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._shared: dict[str, str] = {}

    def __enter__(self) -> OnnxWriter:
        self._data = self._data_path.open("wb")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._data.close()
        if kind is None:
            graph = helper.make_graph(self._nodes, "encoder", self._inputs, self._outputs, self._initializers)
            model = helper.make_model(
                graph, producer_name="ullage", ir_version=IR_VERSION, opset_imports=self._opsets()
            )
            self._path.write_bytes(model.SerializeToString(deterministic=True))
            onnx.checker.check_model(str(self._path))

    def _opsets(self) -> list[Any]:
        own = [RUNTIME_DOMAIN] if any(node.domain for node in self._nodes) else []
        return [helper.make_opsetid("", OPSET), *(helper.make_opsetid(domain, 1) for domain in own)]

    def input(self, name: str) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"]))
        return name

    def output(self, name: str, value: str, shape: Sequence[str | int]) -> None:
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))

    def node(self, kind: str, *values: str, **attributes: Any) -> str:
        made = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(values), [made], name=made, **attributes))
        return made

    def constant(self, array: npt.ArrayLike) -> str:
        """An initializer; large ones go to the data file."""
        array = np.asarray(array, order="C")
        name = f"constant_{len(self._initializers)}"
        if array.nbytes <= INLINE_BYTES:
            self._initializers.append(numpy_helper.from_array(array, name))
            return name
        tensor = TensorProto(name=name, dims=array.shape, data_location=TensorProto.EXTERNAL)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        self._data.write(b"\0" * (-self._data.tell() % ALIGNMENT))
        where = {"location": self._data_path.name, "offset": self._data.tell(), "length": array.nbytes}
        for key, value in where.items():
            tensor.external_data.add(key=key, value=str(value))
        self._data.write(array.tobytes())
        self._initializers.append(tensor)
        return name

    def integers(self, *values: int) -> str:
        """A small integer vector, made once."""
        key = f"integers {values}"
        if key not in self._shared:
            self._shared[key] = self.constant(np.asarray(values, np.int64))
        return self._shared[key]

    def scalar(self, value: float) -> str:
        """An fp32 number, made once."""
        key = f"scalar {value!r}"
        if key not in self._shared:
            self._shared[key] = self.constant(np.float32(value))
        return self._shared[key]

    def add(self, left: str, right: str) -> str:
        return self.node("Add", left, right)

    def tanh(self, value: str) -> str:
        return self.node("Tanh", value)

    def relu(self, value: str) -> str:
        return self.node("Relu", value)

    def gelu(self, value: str, approximate: str) -> str:
        return self.node("Gelu", value, approximate=approximate)

    def gather(self, table: npt.NDArray[np.float32], index: str) -> str:
        return self.node("Gather", self.constant(table), index)

    def linear(self, value: str, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> str:
        """`weight` [in, out], `bias` [out]."""
        if self.form == "int8-dynamic":
            small, scale = quantised(weight)
            inputs = (value, self.constant(small), self.constant(scale), "", self.constant(bias))
            return self.node("DynamicQuantizeMatMul", *inputs, domain=RUNTIME_DOMAIN)
        return self.add(self.multiply(value, weight), self.constant(bias))

    def multiply(self, value: str, weight: npt.NDArray[np.float32]) -> str:
        """`weight` [in, out], without a bias."""
        if self.form == "fp32":
            return self.node("MatMul", value, self.constant(weight))
        small, scale = quantised(weight)
        if self.form == "int8-dynamic":
            inputs = (value, self.constant(small), self.constant(scale))
            return self.node("DynamicQuantizeMatMul", *inputs, domain=RUNTIME_DOMAIN)
        expanded = self.node("DequantizeLinear", self.constant(small), self.constant(scale), axis=1)
        return self.node("MatMul", value, expanded)

    def scale(self, left: str, right: str) -> str:
        """Number by number."""
        return self.node("Mul", left, right)

    def swap(self, value: str) -> str:
        """[rows, heads, tokens, head_dim] with its last two axes exchanged."""
        return self.node("Transpose", value, perm=[0, 1, 3, 2])

    def layer_norm(
        self, value: str, scale: npt.NDArray[np.float32], shift: npt.NDArray[np.float32], epsilon: float
    ) -> str:
        scaled = (self.constant(scale), self.constant(shift))
        return self.node("LayerNormalization", value, *scaled, axis=-1, epsilon=epsilon)

    def first_rows(self, table: npt.NDArray[np.float32], ids: str) -> str:
        """As many rows of `table` as there are tokens: [tokens, hidden]."""
        tokens = self.node("Shape", ids, start=1, end=2)
        return self.node("Slice", self.constant(table), self.integers(0), tokens, self.integers(0))

    def places_without(self, ids: str, padding_id: int) -> str:
        """RoBERTa's positions [rows, tokens]: counted from `padding_id` + 1, passing over ids that are padding."""
        real = self.node("Not", self.node("Equal", ids, self.integers(padding_id)))
        counted = self.node("Cast", real, to=TensorProto.INT64)
        places = self.node("Mul", self.node("CumSum", counted, self.constant(np.int64(1))), counted)
        return self.add(places, self.integers(padding_id))

    def key_bias(self, mask: str, masked: float) -> str:
        """`masked` where the key is padding, else 0: [rows, 1, 1, tokens]."""
        absent = self.node("Equal", self.node("Unsqueeze", mask, self.integers(1, 2)), self.integers(0))
        return self.node("Where", absent, self.scalar(masked), self.scalar(0.0))

    def split_heads(self, value: str, heads: int, head_dim: int, transposed: bool) -> str:
        """[rows, heads, tokens, head_dim], or its last two axes swapped."""
        split = self.node("Reshape", value, self.integers(0, 0, heads, head_dim))
        return self.node("Transpose", split, perm=[0, 2, 3, 1] if transposed else [0, 2, 1, 3])

    def merge_heads(self, value: str, hidden: int) -> str:
        return self.node("Reshape", self.node("Transpose", value, perm=[0, 2, 1, 3]), self.integers(0, 0, hidden))

    def attend(self, query: str, key: str, value: str, bias: str, head_dim: int) -> str:
        """Softmax(query key / sqrt(head_dim) + bias) value; `key` comes transposed."""
        scores = self.node("MatMul", self.node("Mul", query, self.scalar(head_dim**-0.5)), key)
        return self.node("MatMul", self.node("Softmax", self.add(scores, bias), axis=-1), value)

    def first_token(self, hidden: str) -> str:
        """[rows, hidden]."""
        return self.node("Gather", hidden, self.constant(np.int64(0)), axis=1)

    def mean_over(self, hidden: str, mask: str) -> str:
        """The mean of the tokens that `mask` keeps: [rows, hidden]."""
        kept = self.node("Cast", self.node("Unsqueeze", mask, self.integers(2)), to=TensorProto.FLOAT)
        total = self.node("ReduceSum", self.scale(hidden, kept), self.integers(1), keepdims=0)
        return self.node("Div", total, self.node("ReduceSum", kept, self.integers(1), keepdims=0))

    def rotations(self, ids: str, frequencies: npt.NDArray[np.float32]) -> tuple[str, str]:
        """Cosine and sine of each token's position times each frequency, twice over: [tokens, 2 * frequencies]."""
        places = self.node("Unsqueeze", self.node("Cast", self._places(ids), to=TensorProto.FLOAT), self.integers(1))
        angles = self.scale(places, self.constant(frequencies))
        twice = self.node("Concat", angles, angles, axis=-1)
        return self.node("Cos", twice), self.node("Sin", twice)

    def rotate(self, value: str, cosine: str, sine: str, head_dim: int) -> str:
        """`value` [rows, heads, tokens, head_dim], its halves taken as the two axes of a plane, turned."""
        half = head_dim // 2
        first = self.node("Slice", value, self.integers(0), self.integers(half), self.integers(3))
        second = self.node("Slice", value, self.integers(half), self.integers(head_dim), self.integers(3))
        turned = self.node("Concat", self.node("Neg", second), first, axis=-1)
        return self.add(self.scale(value, cosine), self.scale(turned, sine))

    def distance_bias(self, ids: str, reach: int, masked: float) -> str:
        """`masked` where query and key are more than `reach` tokens apart, else 0: [tokens, tokens]."""
        places = self._places(ids)
        apart = self.node("Abs", self.node("Sub", self.node("Unsqueeze", places, self.integers(1)), places))
        far = self.node("Greater", apart, self.constant(np.int64(reach)))
        return self.node("Where", far, self.scalar(masked), self.scalar(0.0))

    def _places(self, ids: str) -> str:
        """0 to tokens - 1, [tokens] int64."""
        tokens = self.node("Squeeze", self.node("Shape", ids, start=1, end=2), self.integers(0))
        return self.node("Range", self.constant(np.int64(0)), tokens, self.constant(np.int64(1)))


def quantised(weight: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """[in, out] as int8 from -127 to 127, and the scale [out] of each column."""
    scale = np.maximum(np.abs(weight).max(axis=0), np.finfo(np.float32).tiny * 127) / np.float32(127)
    return np.rint(weight / scale).astype(np.int8), scale.astype(np.float32)

"""An answer of plain values, written in one pass: a model of each of 512 rankings took longer than the rest of HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import Response
from pydantic_core import to_json


def answered(body: Any, headers: Mapping[str, str]) -> Response:
    """`body` of mappings, lists, texts, numbers and contiguous numpy arrays, as JSON.

    Its route names the model of it for the OpenAPI document; nothing checks it against that while serving.
    """
    try:
        text = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:  # a whole number of over 64 bits that a caller sent, and gets back
        text = to_json(body, inf_nan_mode="null")
    return Response(text, headers=dict(headers), media_type="application/json")

"""`POST /v2/vector_stores/{id}/search`: a collection as OpenAI's vector store."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ullage.errors import RequestError
from ullage.rag.asked import Asked
from ullage.rag.events import Ordered
from ullage.rag.passage import Passage
from ullage.rag.pipeline import Rag
from ullage.rag.rerank import shown_score
from ullage.rag.schema import LONGEST_TEXT

WITHOUT_RANKER = ("none", "false", "off", "disabled", "no", "0")
MOST_FILTERS = 100
_OPERATORS = {"eq": "==", "ne": "!=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "in": "in", "nin": "not in"}
Value = str | int | float | bool
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]


class Comparison(BaseModel):
    model_config = ConfigDict(extra="forbid")
    key: Annotated[str, Field(min_length=1, max_length=255)]
    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    value: Value | list[Value]


class Compound(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: Literal["and", "or"]
    filters: Annotated[list[Comparison | Compound], Field(min_length=1, max_length=MOST_FILTERS)]


class RankingOptions(BaseModel):
    ranker: str | None = "auto"
    score_threshold: float | None = Field(None, ge=0, le=1)


class StoreSearch(BaseModel):
    query: Text | list[Text]
    filters: Comparison | Compound | None = None
    max_num_results: int = Field(10, ge=1, le=50)
    ranking_options: RankingOptions | None = None
    rewrite_query: bool = False


def asked_of_store(rag: Rag, store: str, body: StoreSearch) -> Asked:
    """Raises RequestError for a query without words, or a filter of the wrong kind."""
    query = body.query if isinstance(body.query, str) else " ".join(body.query)
    if not query.strip():
        raise RequestError("query: give a text to search for")
    asked = rag.asked(query.strip())
    options = body.ranking_options or RankingOptions()
    rerank = asked.rerank and (options.ranker or "auto").lower() not in WITHOUT_RANKER
    return replace(
        asked,
        collections=(store,),
        rerank=rerank,
        rerank_top_k=body.max_num_results,
        retrieve_top_k=max(asked.retrieve_top_k, body.max_num_results),
        least_score=(options.score_threshold or 0.0) if rerank else 0.0,
        filter=filter_text(body.filters) if body.filters else "",
        rewrite=body.rewrite_query,
    )


def filter_text(given: Comparison | Compound) -> str:
    """In the contract's grammar; `filename`, `page_number` and `type` are asked by their own names."""
    if isinstance(given, Compound):
        return "(" + f" {given.type} ".join(filter_text(part) for part in given.filters) + ")"
    name = {"document_name": "filename", "document_type": "type"}.get(given.key, given.key)
    field = f"content_metadata[{json.dumps(name, ensure_ascii=False)}]"
    if (given.type in ("in", "nin")) != isinstance(given.value, list):
        raise RequestError(f"filters: {given.type} of {given.key!r} takes "
                           f"{'a list' if given.type in ('in', 'nin') else 'one value'}")
    return f"{field} {_OPERATORS[given.type]} {json.dumps(given.value, ensure_ascii=False)}"


def page_of(asked: Asked, ordered: Ordered) -> dict[str, Any]:
    return {
        "object": "vector_store.search_results.page",
        "search_query": [ordered.question or asked.question],
        "data": [_result(passage) for passage in ordered.passages],
        "has_more": False,
        "next_page": None,
        "degraded": list(ordered.degraded),
    }


def _result(passage: Passage) -> dict[str, Any]:
    attributes = {name: value for name, value in passage.own_metadata.items() if isinstance(value, str | int | float)}
    return {
        "file_id": f"file-{passage.content_hash[:24] or passage.document}",
        "filename": passage.document,
        "score": shown_score(passage.logit),
        "attributes": {**attributes, "document_type": passage.kind, "page_number": passage.page or 1, "language": "",
                       "collection_name": passage.collection},
        "content": [{"type": "text", "text": passage.text}],
    }

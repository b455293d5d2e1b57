"""A metadata filter read out of a question. It holds only if it is one of the grammar, for the collection's fields."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import structlog

from ullage.clients.llm import LlmClient
from ullage.errors import UllageError
from ullage.models.lexical import analyze
from ullage.rag.consult import consult
from ullage.rag.follow_up import LONGEST_QUESTION
from ullage.store import MetadataField, filter_expression

log = structlog.get_logger("ullage.rag")

RULE = """Write a filter for the question below, over these metadata fields:
{fields}
Grammar: content_metadata["field"] OP value, joined by and, or, not, ( ). OP is == != > >= < <= like in, for arrays \
array_contains(content_metadata["field"], value). Strings in double quotes and lower case, times as \
"2024-01-31T00:00:00Z". Use only what the question says of these fields. Reply with the filter alone, or NONE."""

_FILE = re.compile(
    r"[\w-]+(?:\.[\w-]+)*\.(?:pdf|docx|pptx|xlsx|md|html?|txt|csv|json|eml|epub|png|jpe?g|tiff?)\b", re.I)
_PAGE = re.compile(r"\b(?:on|from|at|in)\s+page\s+(\d{1,6})\b", re.I)


async def written_filter(question: str, fields: Sequence[MetadataField], llm: LlmClient | None) -> str:
    """Empty when the question asks for none. `llm` None: by rules (a file's name, a page, `FIELD VALUE`)."""
    question = question[:LONGEST_QUESTION]
    text = _by_rules(question, fields)
    if llm is not None:
        try:
            text = await _by_model(question, fields, llm) or text
        except UllageError as error:
            log.warning("rules write the filter", reason=error.message)
    if not text:
        return ""
    try:
        filter_expression(text, fields)
    except UllageError as error:
        log.warning("a written filter is dropped", filter=text, reason=error.message)
        return ""
    return text


async def _by_model(question: str, fields: Sequence[MetadataField], llm: LlmClient) -> str:
    listed = [f"- {field.name} ({field.type}): {field.description or ''}" for field in fields]
    listed += ["- filename (string): name of the file", "- page_number (integer): page, from 1"]
    said = await consult(llm, RULE.format(fields="\n".join(listed)), question, max_tokens=200)
    text = re.sub(r"^```\w*\s*|\s*```$", "", said).strip()
    return "" if text.upper().startswith("NONE") else text


def _by_rules(question: str, fields: Sequence[MetadataField]) -> str:
    asked = [f'content_metadata["filename"] == {json.dumps(name)}' for name in _FILE.findall(question)][:1]
    if page := _PAGE.search(question):
        asked.append(f'content_metadata["page_number"] == {int(page[1])}')
    for field in fields:
        if field.user_defined and field.support_dynamic_filtering and (value := _said_of(field, question)):
            asked.append(f"content_metadata[{json.dumps(field.name)}] == {value}")
    return " and ".join(asked)


def _said_of(field: MetadataField, question: str) -> str:
    """The value right after a field's name: `of priority high`, `in year 2023`."""
    name = re.escape(field.name.replace("_", " "))
    match = re.search(rf"\b{name}\s*(?:is|of|=|:)?\s*[\"']?([\w.-]+)", question, re.I)
    if match is None or (field.type == "string" and not analyze(match[1])):
        return ""
    value = match[1].rstrip(".").lower()
    if field.type == "string":
        return json.dumps(value)
    if field.type == "boolean":
        return value if value in ("true", "false") else ""
    number = field.type in ("number", "integer", "float") and re.fullmatch(r"-?\d+(?:\.\d+)?", value)
    return value if number else ""

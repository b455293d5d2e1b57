"""What a request may hold, and what becomes of it."""

import pytest
from pydantic import ValidationError

from ullage.serve.llm.schema import ChatRequest, CompletionRequest

HELLO = [{"role": "user", "content": "hello"}]


def chat(**fields):
    return ChatRequest.model_validate({"messages": HELLO, **fields})


def test_only_what_was_set_reaches_the_engine():
    assert chat().engine_request() == {"messages": HELLO, "temperature": 1.0}
    full = chat(temperature=0, max_tokens=5, stop="\n", seed=-1, user="me", metadata={"a": "b"}, service_tier="auto")
    assert full.engine_request() == {
        "messages": HELLO, "temperature": 0.0, "max_tokens": 5, "stop": ["\n"], "seed": 2**32 - 1,
    }


def test_both_names_of_the_limit_mean_the_same():
    assert chat(max_completion_tokens=7).engine_request()["max_tokens"] == 7
    assert chat(max_completion_tokens=7, max_tokens=7).engine_request()["max_tokens"] == 7
    with pytest.raises(ValidationError, match="send one"):
        chat(max_completion_tokens=7, max_tokens=8)


def test_parts_are_joined_and_a_developer_is_the_system():
    parts = [{"role": "developer", "content": [{"type": "text", "text": "be"}, {"type": "text", "text": "kind"}]}]
    assert chat(messages=parts).engine_request()["messages"] == [{"role": "system", "content": "be\nkind"}]


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": [{"role": "user", "content": "x", "tool_calls": []}]},
        {"logprobs": True}, {"store": True}, {"logit_bias": {"1": 1}}, {"tool_choice": "required"},
        {"stop": ["x"] * 9}, {"stop": [""]}, {"stop": ""},
        {"seed": 2**63}, {"service_tier": "flex"}, {"n": 2}, {"stream_options": {}},
        {"grammar": "root ::= \"a\"", "response_format": {"type": "json_object"}},
        {"grammar": "("  * 2000},
        {"response_format": {"type": "text", "json_schema": {"schema": {}}}},
    ],
)
def test_what_would_be_ignored_is_refused(fields):
    with pytest.raises(ValidationError):
        chat(**fields)


def test_a_deep_or_huge_schema_never_reaches_the_compiler():
    deep: dict = {}
    for _ in range(40):
        deep = {"properties": {"a": deep}}
    for schema, said in ((deep, "nested deeper"), ({"enum": ["x" * 70_000]}, "characters")):
        with pytest.raises(ValidationError, match=said):
            chat(response_format={"type": "json_schema", "json_schema": {"schema": schema}})


def test_a_schema_keeps_its_name_on_the_way():
    given = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    assert chat(response_format=given).engine_request()["response_format"] == given


@pytest.mark.parametrize("prompt", ["a b", ["a b"]])
def test_one_prompt_in_either_shape(prompt):
    assert CompletionRequest.model_validate({"prompt": prompt}).engine_request()["prompt"] == "a b"


@pytest.mark.parametrize("prompt", ["", [], ["a", "b"], [""], [1, 2]])
def test_other_prompts_are_refused(prompt):
    with pytest.raises(ValidationError):
        CompletionRequest.model_validate({"prompt": prompt})

"""openai."""

import openai
import pytest
from servers import EMBEDDER, serving


@pytest.fixture
def client(embedding):
    with openai.OpenAI(base_url=f"{embedding.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_embeds_by_base64_which_is_its_default_and_by_floats(client):
    packed = client.embeddings.create(model=EMBEDDER, input=["a", "b"])
    plain = client.embeddings.create(model=EMBEDDER, input=["a", "b"], encoding_format="float")
    assert [len(item.embedding) for item in packed.data] == [384, 384]
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-7)
    assert packed.usage.total_tokens == plain.usage.prompt_tokens == 6


def test_nim_fields_pass_as_extra_body(client):
    body = {"input_type": "query", "truncate": "END"}
    answer = client.embeddings.create(model=EMBEDDER, input="word " * 700, extra_body=body)
    assert answer.usage.prompt_tokens == 512


def test_lists_models(client):
    assert client.models.list().data[0].id == EMBEDDER


def test_errors_are_of_its_own_kinds(client):
    with pytest.raises(openai.NotFoundError) as unknown:
        client.embeddings.create(model="nobody", input="x")
    assert unknown.value.body["type"] == "not_found_error"
    with pytest.raises(openai.UnprocessableEntityError, match="exceeds maximum allowed token size 512"):
        client.embeddings.create(model=EMBEDDER, input="word " * 700)
    with pytest.raises(openai.BadRequestError, match="dimensions=-1"):
        client.embeddings.create(model=EMBEDDER, input="x", dimensions=-1)


def test_a_key_is_sent_as_it_sends_its_own(tmp_path):
    with serving("embedding", tmp_path, API_KEYS="one,two") as locked:
        for key, error in (("two", None), ("three", openai.AuthenticationError)):
            with openai.OpenAI(base_url=f"{locked.url}/v1", api_key=key, max_retries=0) as client:
                if error is None:
                    assert len(client.embeddings.create(model=EMBEDDER, input="x").data) == 1
                else:
                    with pytest.raises(error, match="wants an API key"):
                        client.embeddings.create(model=EMBEDDER, input="x")

"""openai and langchain-nvidia-ai-endpoints at the RAG server, over real sockets; services behind it are stubs."""

import asyncio

import openai
import pytest
from langchain_nvidia_ai_endpoints import ChatNVIDIA

from rag_stubs import Stub, fill, on_loopback, small
from ullage.store import VectorStore

TUG = "What is the hourly price of the tug from Kettlehaven?"
SAYS = "The hourly price of the tug from Kettlehaven is £1,150. [1]"
ASKED = [{"role": "user", "content": TUG}]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    opened = VectorStore(str(tmp_path_factory.mktemp("rag") / "vectors.db"))
    fill(opened)
    yield opened
    opened.close()


@pytest.fixture
async def url(store, tmp_path):
    async with small(store, tmp_path) as rag, on_loopback(rag.app) as where:
        yield where


def client(url, version="v1"):
    return openai.AsyncOpenAI(base_url=f"{url}/{version}", api_key="none", max_retries=0)


async def test_openai_streams_and_counts(url):
    async with client(url) as api:
        stream = await api.chat.completions.create(
            model="ullage/rag", messages=ASKED, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == SAYS
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + chunks[-1].usage.completion_tokens
    assert chunks[0].citations["results"][0]["document_name"] == "plan.pdf"


async def test_openai_gets_one_object_and_lists_the_model(url):
    async with client(url) as api:
        [model] = (await api.models.list()).data
        answer = await api.chat.completions.create(model=model.id, messages=ASKED)
    assert answer.choices[0].message.content == SAYS
    assert answer.choices[0].finish_reason == "stop"


async def test_openai_reads_errors(url):
    async with client(url) as api:
        with pytest.raises(openai.BadRequestError, match="Collection nope does not exist"):
            await api.chat.completions.create(
                model="m", messages=ASKED, stream=True, extra_body={"collection_names": ["nope"]})


async def test_openai_searches_a_vector_store(url):
    async with client(url, "v2") as api:
        page = await api.vector_stores.search(
            "handbook", query=TUG, max_num_results=2, rewrite_query=False,
            filters={"type": "eq", "key": "filename", "value": "plan.pdf"}, ranking_options={"score_threshold": 0.1})
    assert [found.filename for found in page.data] == ["plan.pdf", "plan.pdf"]
    assert page.data[0].attributes["page_number"] == 13
    assert page.data[0].content[0].text.startswith("Plan > Outside help")


async def test_openai_hears_of_an_error_in_the_middle_of_a_stream(store, tmp_path):
    stub = Stub("mid 500")
    async with small(store, tmp_path, {"llm": stub}) as rag, on_loopback(rag.app) as where, client(where) as api:
        stream = await api.chat.completions.create(
            model="m", messages=ASKED, stream=True, extra_body={"use_knowledge_base": False})
        with pytest.raises(openai.APIError, match="LLM NIM unavailable at"):
            async for _ in stream:
                pass


async def test_langchain_chats_and_streams(url):
    def talk():
        chat = ChatNVIDIA(base_url=f"{url}/v1", api_key="none", model="ullage/rag")
        return chat.invoke(TUG).content, "".join(piece.content for piece in chat.stream(TUG))

    async with asyncio.timeout(60):
        said, streamed = await asyncio.to_thread(talk)
    assert said == streamed == SAYS

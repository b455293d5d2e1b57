"""The clients of the page: what they say when a service refuses, is away, or answers rubbish."""

import json

import httpx
import pytest

from ullage.clients.ingest import IngestClient
from ullage.clients.once import Once
from ullage.clients.rag import RagClient, finished, text_of
from ullage.errors import DeadlineExceeded, DependencyDown, InvalidRequest, NotFound, NotReady, TooLarge
from web_backend import ANSWER, Backend


@pytest.fixture
async def made():
    opened = []

    def of(kind, answer, **more):
        transport = httpx.MockTransport(answer) if callable(answer) else answer
        extra = {"role": "ranking"} if kind is Once else {}
        opened.append(kind("http://there/v1/", transport=transport, **extra, **more))
        return opened[-1]

    yield of
    for client in opened:
        await client.close()


@pytest.mark.parametrize(("status", "body", "error", "said"), [
    (404, {"message": "no such page"}, NotFound, "no such page"),
    (413, {"message": "too large"}, TooLarge, "too large"),
    (503, {"message": "still loading"}, NotReady, "still loading"),
    (504, {"message": "late"}, DeadlineExceeded, "late"),
    (422, {"detail": [{"msg": "one"}, {"msg": "two"}]}, InvalidRequest, "one; two"),
    (401, {"message": "key"}, InvalidRequest, "set the same api_keys"),
    (500, {"message": "Collection x does not exist."}, InvalidRequest, "does not exist"),
    (500, "a page of\n HTML", DependencyDown, "a page of HTML"),
    (400, "", InvalidRequest, "status 400"),
])
async def test_a_refusal_is_told_in_the_services_words(made, status, body, error, said):
    content = body if isinstance(body, str) else json.dumps(body)
    client = made(Once, lambda _: httpx.Response(status, content=content))
    with pytest.raises(error, match=said):
        await client.ask("GET", "/x")


async def test_a_service_that_is_away_late_or_wrong_is_named(made):
    def raising(error):
        def answer(request):
            raise error("no", request=request)
        return answer

    for error, expected, said in ((httpx.ConnectError, DependencyDown, "does not answer"),
                                  (httpx.ReadTimeout, DeadlineExceeded, "said nothing for"),
                                  (httpx.RemoteProtocolError, DependencyDown, "broke off")):
        with pytest.raises(expected, match=f"ranking .*{said}"):
            await made(Once, raising(error)).ask("GET", "/x")
    with pytest.raises(DependencyDown, match="not JSON"):
        await made(Once, lambda _: httpx.Response(200, text="<html>")).ask("GET", "/x")


async def test_a_key_and_the_requests_id_go_along(made):
    seen = []

    def answer(request):
        seen.append(request)
        return httpx.Response(200, json={})

    await made(Once, answer, api_key="secret").ask("GET", "/x", a=1, b=None)
    assert seen[0].headers["authorization"] == "Bearer secret"
    assert str(seen[0].url) == "http://there/x?a=1"


async def test_an_answer_streams_with_citations_first_and_figures_last(made):
    client = made(RagClient, httpx.ASGITransport(Backend().app))
    chunks = [chunk async for chunk in client.generate({"messages": [{"role": "user", "content": "When?"}]})]
    assert "".join(map(text_of, chunks)).strip() == ANSWER
    assert chunks[0]["citations"]["total_results"] == 3
    assert [finished(chunk) for chunk in chunks[-2:]] == [False, True]


async def test_an_error_that_comes_as_a_stream_is_read_out_of_it(made):
    client = made(RagClient, httpx.ASGITransport(Backend().app))
    with pytest.raises(NotReady, match=r"^Reranker NIM unavailable at http://x\.$"):
        async for _ in client.generate({"messages": [{"role": "user", "content": "broken"}]}):
            pass


@pytest.mark.parametrize(("body", "said"), [
    ('data: {"choices": [{"delta": {"content": "a"}}]}\n\n', "broke off"),
    ("data: nonsense\n\n", "no events of the contract"), ("data: []\n\n", "no events of the contract"),
    ("", "broke off"),
])
async def test_a_stream_that_is_none_is_an_error(made, body, said):
    client = made(RagClient, lambda _: httpx.Response(200, text=body))
    with pytest.raises(DependencyDown, match=said):
        async for _ in client.generate({}):
            pass
    with pytest.raises(DependencyDown, match="no results"):
        await made(RagClient, lambda _: httpx.Response(200, json={"x": 1})).search({})


async def test_collections_documents_and_tasks(made):
    backend = Backend()
    client = made(IngestClient, httpx.ASGITransport(backend.app))
    assert "created" in await client.create_collection("new")
    backend.add("new", "a.pdf")
    assert [one["document_name"] for one in await client.documents("new")] == ["a.pdf"]
    assert "deleted" in await client.delete_documents("new", ["a.pdf"])
    await client.delete_collection("new")
    with pytest.raises(DependencyDown, match="collection new was not deleted: it is not there"):
        await client.delete_collection("new")
    backend.tasks["t 1"] = {"collection": "new", "name": "bad-x.pdf", "size": 1, "updated": 0, "state": "FAILED",
                            "error": "e"}
    assert [task["task_id"] for task in await client.tasks()] == ["t 1"]
    assert (await client.status("t 1"))["state"] == "FAILED"
    assert (await client.retry("t 1", "bad-x.pdf"))["retried"] == ["x.pdf"]
    assert "cancelled" in await client.cancel("t 1")
    with pytest.raises(DependencyDown, match="no collections"):
        await made(IngestClient, lambda _: httpx.Response(200, json={})).collections()

"""The tools against servers that are away, refuse, or talk rubbish: one line, whatever happens."""

import json

import httpx
import pytest

from ullage.clients.door import close_doors
from ullage.clients.ingest import IngestClient
from ullage.clients.rag import RagClient
from ullage.mcp.files import Files
from ullage.mcp.server import BY_NAME, call, connect
from ullage.mcp.tools import Servers
from ullage.settings import Settings
from ullage.stack.doors import take_keys

ASK = {"messages": [{"role": "user", "content": "When?"}]}


class Behind:
    """Answers for both servers; keeps what it was asked."""

    def __init__(self):
        self.asked: list[httpx.Request] = []
        self.answers: list[httpx.Response | Exception] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def behind():
    return Behind()


@pytest.fixture
async def servers(behind, tmp_path):
    transport = httpx.MockTransport(behind)
    found = Servers(RagClient("http://rag", transport=transport, api_key="k"),
                    IngestClient("http://ingest", transport=transport), Files(tmp_path), patience_s=0.3)
    yield found
    await found.close()


async def said(servers, tool, **given):
    result = await call(servers, tool, given)
    [block] = result.content
    assert "\n" not in block.text
    return result.is_error, block.text


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (httpx.ConnectError("refused"), "rag does not answer at http://rag"),
        (httpx.ReadTimeout(""), "said nothing for"),
        (httpx.Response(200, text="<html>"), "something that is not JSON: check rag_url"),
        (httpx.Response(200, json=[]), "rag_url"),
        (httpx.Response(401, json={"message": "no"}), "wants an API key"),
        (httpx.Response(503, json={"message": "rag is not ready: loading"}), "rag is not ready: loading"),
        (httpx.Response(400, json={"message": "Collection x does not exist."}), "Collection x does not exist."),
        (httpx.Response(500, text="boom"), "boom"),
    ],
)
async def test_a_server_that_fails_is_one_line(servers, behind, answer, line):
    behind.answers = [answer]
    failed, text = await said(servers, "search", query="x")
    assert failed
    assert line in text


async def test_an_answer_that_breaks_off_is_an_error_and_not_half_an_answer(servers, behind):
    chunk = {"choices": [{"delta": {"content": "Half"}, "finish_reason": None}]}
    behind.answers = [httpx.Response(200, text=f"data: {json.dumps(chunk)}\n\n")]
    failed, text = await said(servers, "generate", **ASK)
    assert failed
    assert "broke off" in text


async def test_only_what_was_given_is_sent_and_the_key_with_it(servers, behind):
    behind.answers = [httpx.Response(200, json={"results": [], "total_results": 0})]
    assert await said(servers, "search", query="x", reranker_top_k=2, confidence_threshold=None) == (
        False, '{"results": [], "total_results": 0}')
    [request] = behind.asked
    assert json.loads(request.content) == {"query": "x", "reranker_top_k": 2}
    assert request.headers["authorization"] == "Bearer k"


async def test_names_with_slashes_stay_one_part_of_the_path(servers, behind):
    behind.answers = [httpx.Response(200, json={"message": "done"})]
    await said(servers, "update_document_metadata", collection_name="c", document_name="a/b ?.pdf", tags=["t"])
    [request] = behind.asked
    assert request.url.raw_path == b"/v1/collections/c/documents/a%2Fb%20%3F.pdf/metadata"
    assert json.loads(request.content) == {"tags": ["t"]}


async def test_an_upload_that_takes_long_goes_on_and_says_so(servers, behind, tmp_path):
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    behind.answers = [httpx.Response(200, json={"task_id": "7"}), httpx.Response(200, json={"state": "PENDING"})]
    failed, text = await said(servers, "upload_documents", collection_name="c", file_paths=["a.txt"])
    assert not failed
    assert json.loads(text)["state"] == "PENDING"
    sent = behind.asked[0]
    assert b'"blocking": false' in sent.content
    assert b'"generate_summary": true' in sent.content
    assert b'filename="a.txt"' in sent.content


async def test_a_summary_that_does_not_come_is_an_error_with_its_state(servers, behind):
    behind.answers = [httpx.Response(202, json={"status": "PENDING", "message": "it waits for the LLM"})]
    failed, text = await said(servers, "get_summary", collection_name="c", file_name="a.txt", blocking=True,
                              timeout=0.3)
    assert failed
    assert "was not there within 0.3 s: it waits for the LLM" in text


@pytest.mark.parametrize(
    ("tool", "given", "line"),
    [
        ("nothing_like_it", {}, "no tool is called nothing_like_it: there are generate,"),
        ("upload_document", {}, "did you mean upload_documents?"),
        ("delete_documents", {"collection_name": "c", "document_names": []}, "document_names: List should have"),
        ("search", {"query": "x", "reranker_top_k": 26}, "reranker_top_k: Input should be less than or equal to 25"),
        ("generate", {**ASK, "top": 1}, "generate: top: unknown field"),
    ],
)
async def test_wrong_arguments_are_one_line_and_nothing_is_asked(servers, behind, tool, given, line):
    failed, text = await said(servers, tool, **given)
    assert failed
    assert line in text
    assert behind.asked == []


async def test_a_bug_is_logged_and_not_shown(servers, behind):
    behind.answers = [httpx.Response(200, json={"no": "task"})]
    failed, text = await said(servers, "get_documents", collection_name="c")
    assert not failed
    behind.answers = [RuntimeError("secret")]
    failed, text = await said(servers, "get_documents", collection_name="c")
    assert failed
    assert text == "get_documents broke down: the log of this MCP server says why"


async def test_our_own_servers_get_the_first_of_our_keys_and_others_none():
    settings = Settings(api_keys="one, two", rag_url="http://elsewhere.example")
    take_keys(settings)
    servers = connect(settings, stdio=True)
    try:
        assert servers.ingest._http.headers["authorization"] == "Bearer one"
        assert "authorization" not in servers.rag._http.headers
    finally:
        close_doors()
        await servers.close()


def test_no_tool_that_changes_something_says_that_it_only_reads():
    reads = {name for name, tool in BY_NAME.items() if tool.reads}
    assert reads == {"generate", "search", "get_summary", "get_documents", "list_collections"}
    assert {name for name, tool in BY_NAME.items() if tool.destroys} == {
        "delete_documents", "update_documents", "delete_collections"}

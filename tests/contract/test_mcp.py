"""The official `mcp` client over stdio, SSE and streamable HTTP, against processes of `ullage serve mcp`."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp_stack import Servers, servers

from processes import clean_environment, free_port

TOOLS = {
    "generate", "search", "get_summary", "get_documents", "delete_documents", "update_documents", "list_collections",
    "update_collection_metadata", "update_document_metadata", "create_collection", "delete_collections",
    "upload_documents",
}
SIREN = "The evacuation siren of the northern pier is tested every Thursday at noon."
QUESTION = "When is the evacuation siren of the northern pier tested?"
DOORS = ("stdio", "sse", "streamable-http", "streamable-http, older protocol")
WAIT_S = 60
KEY = "a-key"

Open = Callable[[], AbstractAsyncContextManager[Client]]


@pytest.fixture(scope="module")
def behind(tmp_path_factory, model_cache) -> Iterator[Servers]:
    with servers(tmp_path_factory.mktemp("stack"), model_cache) as up:
        yield up


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """The one folder whose files may be sent over HTTP."""
    return tmp_path_factory.mktemp("files")


def environment(behind: Servers, files: Path, **more: str) -> dict[str, str]:
    ports = {f"ULLAGE_{name}_PORT": url.rpartition(":")[2] for name, url in
             (("RAG", behind.rag), ("INGEST", behind.ingest))}
    return clean_environment(ULLAGE_MCP_FILES=str(files), ULLAGE_REQUEST_TIMEOUT_S="30", **ports, **more)


def stdio(env: dict[str, str]) -> StdioServerParameters:
    return StdioServerParameters(command=sys.executable, args=["-m", "ullage", "serve", "mcp"], env=env)


@dataclass(frozen=True)
class Door:
    """`ullage serve mcp` over HTTP."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path


@contextmanager
def door(transport: str, folder: Path, env: dict[str, str]) -> Iterator[Door]:
    port, log = free_port(), folder / f"mcp-{transport}.log"
    command = [sys.executable, "-m", "ullage", "serve", "mcp", "--transport", transport, "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env)
    try:
        found = Door(f"http://127.0.0.1:{port}", process, log)
        wait_ready(found)
        yield found
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, log.read_text()


def wait_ready(found: Door) -> None:
    until = time.monotonic() + WAIT_S
    while True:
        assert found.process.poll() is None, found.log.read_text()
        try:
            if httpx.get(f"{found.url}/v1/health/ready", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < until, found.log.read_text()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def sse(behind, files, tmp_path_factory) -> Iterator[Door]:
    with door("sse", tmp_path_factory.mktemp("sse"), environment(behind, files)) as found:
        yield found


@pytest.fixture(scope="module")
def streamable(behind, files, tmp_path_factory) -> Iterator[Door]:
    with door("streamable-http", tmp_path_factory.mktemp("http"), environment(behind, files)) as found:
        yield found


@pytest.fixture(params=DOORS)
def opened(request, behind, files) -> Open:
    """A client at one of the doors."""
    which = request.param

    def connect() -> Client:
        if which == "stdio":
            return Client(stdio(environment(behind, files)), read_timeout_seconds=WAIT_S)
        if which == "sse":
            return Client(sse_client(f"{request.getfixturevalue('sse').url}/sse"), read_timeout_seconds=WAIT_S)
        mode = "legacy" if "older" in which else "auto"
        return Client(f"{request.getfixturevalue('streamable').url}/mcp", mode=mode, read_timeout_seconds=WAIT_S)

    @asynccontextmanager
    async def client() -> AsyncIterator[Client]:
        async with connect() as found:
            yield found

    return client


def text(result) -> str:
    [block] = result.content
    return block.text


async def data(client: Client, tool: str, **arguments):
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, text(result)
    return result.structured_content


async def fault(client: Client, tool: str, **arguments) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert result.structured_content == {"error": text(result)}
    assert "\n" not in text(result)
    assert "Traceback" not in text(result)
    return text(result)


async def test_every_tool_does_what_it_says(opened, files):
    name = f"c{os.urandom(4).hex()}"
    (files / f"{name}.txt").write_text(SIREN, encoding="utf-8")
    async with opened() as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
        await data(client, "create_collection", collection_name=name, description="harbour")
        sent = await data(client, "upload_documents", collection_name=name, file_paths=[f"{name}.txt"],
                          generate_summary=False)
        assert (sent["state"], sent["failed_documents"]) == ("FINISHED", [])
        listed = await data(client, "list_collections")
        assert [c["collection_info"]["description"] for c in listed["collections"] if c["collection_name"] == name] == [
            "harbour"]
        found = await data(client, "search", query=QUESTION, collection_names=[name], reranker_top_k=1)
        assert SIREN in found["results"][0]["content"]
        answered = await client.call_tool(
            "generate", {"messages": [{"role": "user", "content": QUESTION}], "collection_names": [name]})
        assert "Thursday at noon" in text(answered)
        assert answered.structured_content["answer"] == text(answered)
        assert answered.structured_content["citations"][0]["document_name"] == f"{name}.txt"
        await data(client, "update_collection_metadata", collection_name=name, owner="the harbour master")
        await data(client, "update_document_metadata", collection_name=name, document_name=f"{name}.txt", tags=["a"])
        (files / f"{name}.txt").write_text(SIREN.replace("Thursday", "Friday"), encoding="utf-8")
        again = await data(client, "update_documents", collection_name=name, file_paths=[str(files / f"{name}.txt")])
        assert again["state"] == "FINISHED"
        [document] = (await data(client, "get_documents", collection_name=name))["documents"]
        assert document["document_name"] == f"{name}.txt"
        found = await data(client, "search", query=QUESTION, collection_names=[name], reranker_top_k=1)
        assert "Friday" in found["results"][0]["content"]
        gone = await data(client, "delete_documents", collection_name=name, document_names=[f"{name}.txt"])
        assert gone["total_documents"] == 1
        assert (await data(client, "delete_collections", collection_names=[name]))["successful"] == [name]


async def test_what_went_wrong_is_said_in_one_line(opened):
    async with opened() as client:
        assert await fault(client, "serch", query="x") == "no tool is called serch: did you mean search?"
        assert await fault(client, "search", query="x", top_k=3) == "search: top_k: unknown field"
        assert "messages: Field required" in await fault(client, "generate")
        assert "Collection nowhere does not exist" in await fault(client, "search", query="x",
                                                                  collection_names=["nowhere"])
        assert "is not below mcp_files" in await fault(client, "upload_documents", collection_name="c",
                                                       file_paths=["/etc/hostname"])
        assert "none.txt" in await fault(client, "get_summary", collection_name="c", file_name="none.txt")


async def test_a_file_is_summarised_when_asked(behind, files):
    """The tool gives what the ingestor says: without a language model that says anything, that the summary failed."""
    (files / "summary.txt").write_text(SIREN, encoding="utf-8")
    async with Client(stdio(environment(behind, files))) as c:
        await data(c, "create_collection", collection_name="summed")
        started = await data(c, "upload_documents", collection_name="summed", file_paths=["summary.txt"],
                             blocking=False)
        assert started["task_id"]
        said = await c.call_tool("get_summary", {"collection_name": "summed", "file_name": "summary.txt",
                                                 "blocking": True, "timeout": 30})
        assert "summary" in text(said).lower()


async def test_a_key_is_asked_for_and_passed_on(behind, files, tmp_path):
    with door("streamable-http", tmp_path, environment(behind, files, ULLAGE_API_KEYS=KEY)) as found:
        async with httpx.AsyncClient(base_url=found.url) as http:
            refused = await http.post("/mcp", json={})
            assert (refused.status_code, refused.json()["type"]) == (401, "authentication_error")
            assert (await http.get("/v1/health/ready")).status_code == 200
            assert "ullage_ready 1.0" in (await http.get("/v1/metrics", headers={"X-API-Key": KEY})).text
        http2 = httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"})
        async with http2, Client(streamable_http_client(f"{found.url}/mcp", http_client=http2)) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS


@pytest.mark.parametrize(("path", "which"), [("/mcp", "streamable"), ("/sse", "sse")])
async def test_a_rebound_name_is_refused(request, path, which):
    """A page in a browser that made its own name lead to loopback."""
    async with httpx.AsyncClient(base_url=request.getfixturevalue(which).url) as http:
        ask = http.post if path == "/mcp" else http.get
        answer = await ask(path, headers={"Host": "evil.example", "content-type": "application/json",
                                          "accept": "application/json, text/event-stream"})
        assert answer.status_code == 421
        answer = await ask(path, headers={"Origin": "http://evil.example", "content-type": "application/json",
                                          "accept": "application/json, text/event-stream"})
        assert answer.status_code == 403


async def test_it_stops_while_clients_listen(behind, files, tmp_path):
    """SIGTERM with a stream open ends in time, with exit code 0, which `door` checks."""
    with door("sse", tmp_path, environment(behind, files)) as found:
        async with httpx.AsyncClient(base_url=found.url, timeout=30) as http, http.stream("GET", "/sse") as stream:
            lines = stream.aiter_lines()
            assert await anext(lines) == "event: endpoint"
            found.process.send_signal(signal.SIGTERM)
            with suppress(httpx.TransportError):
                async for _ in lines:
                    pass
        assert found.process.wait(30) == 0

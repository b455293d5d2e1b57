"""`ullage ask` and `ullage search`: a question to the RAG server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console

from ullage.cli.answer import Answer, gather
from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, out, print_json
from ullage.cli.remote import Remote
from ullage.settings import Settings

EXCERPT = 160
"""Characters of a passage that are shown."""


def rag_server(settings: Settings) -> Remote:
    from ullage.stack.doors import take_keys

    take_keys(settings)
    return Remote("rag", settings.url("rag"), timeout_s=settings.request_timeout_s)


def ask(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="what to ask the documents")],
    collection: Annotated[str | None, typer.Option(help="collection to search")] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Ask a question; the answer is streamed, then where it stands and how long each stage took."""
    settings = invocation(context).load(collection=collection).settings
    console = out()
    with rag_server(settings) as server:
        if as_json:
            print_json(ask_server(server, settings, question).as_json())
            return
        answer = ask_server(server, settings, question, lambda text: print(text, end="", flush=True))
    print()
    show_evidence(console, answer)


def ask_server(
    server: Remote, settings: Settings, question: str, hear: Callable[[str], None] = lambda _: None
) -> Answer:
    """Stream `/v1/generate`; `hear` gets the text as it comes."""
    body = {"messages": [{"role": "user", "content": question}], "collection_names": [settings.collection]}
    return gather(question, server.events("/v1/generate", body), hear)


def show_evidence(console: Console, answer: Answer) -> None:
    for citation in answer.citations:
        console.print(f"  [{citation.number}] {citation.place}", markup=False)
    if answer.withheld:
        console.print(f"  withheld: {answer.withheld} that the documents do not support", markup=False)
    if answer.degraded:
        console.print(f"  degraded: {', '.join(answer.degraded)} did not take part", style="yellow", markup=False)
    total = sum(answer.stages_ms.values())
    stages = ", ".join(f"{name} {ms:.0f}" for name, ms in answer.stages_ms.items())
    console.print(f"  ms: {stages}, total {total:.0f}", markup=False)


def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="what to look for")],
    top_k: Annotated[int | None, typer.Option(min=1, max=25, help="passages to show")] = None,
    collection: Annotated[str | None, typer.Option(help="collection to search")] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """The passages that speak to a query, best first."""
    settings = invocation(context).load(collection=collection, rerank_top_k=top_k).settings
    with rag_server(settings) as server:
        found = search_server(server, settings, query)
    if as_json:
        print_json(found)
        return
    show_passages(out(), found["results"])
    if found["degraded"]:
        out().print(f"degraded: {', '.join(found['degraded'])} did not take part", style="yellow", markup=False)


def search_server(server: Remote, settings: Settings, query: str, **more: Any) -> dict[str, Any]:
    """The body of `/v1/search`."""
    body = {"query": query, "collection_names": [settings.collection], "reranker_top_k": settings.rerank_top_k}
    found: dict[str, Any] = server.send("POST", "/v1/search", {**body, **more})
    return found


def show_passages(console: Console, results: list[dict[str, Any]]) -> None:
    """A line a passage: the reranker's raw score, or that of retrieval where nothing was reranked."""
    for rank, result in enumerate(results, start=1):
        metadata = result["metadata"]
        logit = metadata["logit"]
        score = f"rrf {metadata['retrieval_score']:.4f}" if logit is None else f"logit {logit:+.2f}"
        excerpt = " ".join(str(result["content"]).split())[:EXCERPT]
        console.print(f"{rank:>3}. {score}  {place_of(result)}: {excerpt}", markup=False)
    if not results:
        console.print("nothing was found")


def place_of(result: dict[str, Any]) -> str:
    """Page of a PDF, heading of everything else: the contract gives page 1 to formats without pages."""
    name = str(result["document_name"])
    headings = result["metadata"]["content_metadata"]["headings"]
    if name.lower().endswith(".pdf"):
        return f"{name}, page {result['metadata']['page_number']}"
    return f'{name}, "{headings[-1]}"' if headings else name


def register(app: typer.Typer) -> None:
    app.command()(ask)
    app.command()(search)

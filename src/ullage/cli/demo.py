"""`ullage demo`: the main job on the sample documents, with the evidence on the table."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ullage.cli.answer import Answer
from ullage.cli.ask import ask_server, rag_server, search_server, show_evidence, show_passages
from ullage.cli.ingest import expand, ingest_server, ingest_with_bars
from ullage.cli.invocation import invocation
from ullage.cli.output import out
from ullage.cli.own import head, own_stack
from ullage.cli.status import status_table
from ullage.errors import InvalidRequest
from ullage.settings import Settings

if TYPE_CHECKING:
    from ullage.rag.evaluate import TestQuestion

ASKED = ("q08", "q07", "q25")
"""One question from a table, one from running text, one that the documents do not answer."""

SHOWN = 3
"""Passages shown before and after reranking."""


def demo(
    context: typer.Context,
    samples: Annotated[Path, typer.Option(help="folder with the documents")] = Path("samples"),
    memory: Annotated[str | None, typer.Option(help="budget of the whole stack, such as 3GiB")] = None,
) -> None:
    """Start a stack of its own, ingest the sample documents, ask three questions, show the evidence, stop."""
    begun = time.perf_counter()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    files, questions = expand([samples]), demo_questions(samples)
    console = out()
    with own_stack(invocation(context), console, memory=memory) as settings:
        _ingest(console, settings, files)
        faults = [fault for question in questions if (fault := _ask(console, settings, question))]
        _memory(console, settings)
    seconds = time.perf_counter() - begun
    if faults:
        console.print(f"\ndemo: failed after {seconds:.0f} s: {'; '.join(faults)}", markup=False)
        raise typer.Exit(1)
    console.print(f"\ndemo: ok in {seconds:.0f} s")


def demo_questions(samples: Path) -> list[TestQuestion]:
    """The questions of ASKED, in that order, from questions.jsonl in the folder or the one above."""
    from ullage.rag.evaluate import read_questions

    for folder in (samples.absolute(), samples.absolute().parent):
        if (folder / "questions.jsonl").is_file():
            known = {question.id: question for question in read_questions(folder / "questions.jsonl")}
            if absent := [number for number in ASKED if number not in known]:
                raise InvalidRequest(f"{folder / 'questions.jsonl'} has no question {', '.join(absent)}")
            return [known[number] for number in ASKED]
    raise InvalidRequest(f"neither {samples} nor the folder above it has a questions.jsonl: give --samples DIR")


def fault_of(question: TestQuestion, answer: Answer) -> str | None:
    """What is wrong with an answer, if anything."""
    from ullage.rag.evaluate import has_facts

    if not question.answerable:
        return None if answer.declined else f"{question.id} was answered, though the documents do not say"
    if not has_facts(answer.text, question.facts):
        wanted = ", ".join(forms[0] for forms in question.facts)
        return f"the answer to {question.id} does not hold {wanted}"
    if not any(c.document == question.document and c.page == question.page for c in answer.citations):
        return f"the answer to {question.id} does not cite {question.document}, page {question.page}"
    return None


def _ingest(console: Console, settings: Settings, files: list[Path]) -> None:
    head(console, "ingest")
    begun = time.perf_counter()
    with ingest_server(settings) as server:
        done = ingest_with_bars(server, settings, files)
    for file in done.files:
        for line in file.lines():
            console.print(line, markup=False)
    console.print(f"{time.perf_counter() - begun:.1f} s")


def _ask(console: Console, settings: Settings, question: TestQuestion) -> str | None:
    head(console, question.question)
    with rag_server(settings) as server:
        for title, enabled in (("retrieval order", False), ("after reranking", True)):
            console.print(f"{title}:")
            found = search_server(server, settings, question.question, enable_reranker=enabled, reranker_top_k=SHOWN)
            show_passages(console, found["results"][:SHOWN])
        print("answer: ", end="")
        answer = ask_server(server, settings, question.question, lambda text: print(text, end="", flush=True))
    print()
    show_evidence(console, answer)
    return fault_of(question, answer)


def _memory(console: Console, settings: Settings) -> None:
    from ullage.stack.status import stack_status

    head(console, "memory")
    console.print(status_table(asyncio.run(stack_status(settings.state_dir)).services))


def register(app: typer.Typer) -> None:
    app.command()(demo)

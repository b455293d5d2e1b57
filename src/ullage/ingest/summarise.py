"""A document's summary by a language model whose context is not known: pieces that fit, read in order or in levels."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ullage.clients.llm import LlmClient
from ullage.errors import DocumentRefused, TooLong
from ullage.ingest.sentences import sentences
from ullage.models.lexical import analyze
from ullage.store import Chunk

PIECE_CHARACTERS = 6000
LEAST_CHARACTERS = 500
ANSWER_TOKENS = 256
MOST_PIECES = 200
MOST_SENTENCES = 5
LEAST_SHARED = 0.7
SEEN = ("text",)
"""Kinds of passages that a shallow summary reads."""

_ROLE = "You summarise documents. Say only what the text says, in its own language, in plain sentences."
_ONE = "Summarise this text in at most five sentences.\n\n{text}"
_MORE = ("This is a summary of the beginning of a document:\n\n{summary}\n\nThis is what follows there:\n\n{text}\n\n"
         "Write one summary of both in at most five sentences.")
_JOIN = "These are summaries of a document's parts, in order. Make one of them, in at most five sentences.\n\n{text}"

Told = Callable[[int, int, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Made:
    """`note` says what was left out."""

    text: str
    note: str = ""


async def summarise(llm: LlmClient, texts: Sequence[str], strategy: str | None, told: Told) -> Made:
    """`strategy`: `single` reads what fits at once, `hierarchical` joins summaries of parts, None goes on from part to
    part. Pieces are made smaller until the model takes them. Raises DocumentRefused or the errors of `LlmClient`."""
    size = PIECE_CHARACTERS
    while True:
        try:
            return await _summarise(llm, texts, strategy, size, told)
        except TooLong:
            size //= 2
            if size < LEAST_CHARACTERS:
                raise DocumentRefused(f"the LLM at {llm.base} takes less than {LEAST_CHARACTERS} characters of text: "
                                      "give it a larger context") from None
            await told(0, 0, f"again in pieces of {size} characters: the LLM's context is small")


async def _summarise(llm: LlmClient, texts: Sequence[str], strategy: str | None, size: int, told: Told) -> Made:
    found = pieces(texts, size)
    if not found:
        raise DocumentRefused("the document holds no text that could be summarised")
    read = found[: 1 if strategy == "single" else MOST_PIECES]
    note = f"of the first {len(read)} of {len(found)} parts" if len(read) < len(found) else ""
    make = _levels if strategy == "hierarchical" else _onwards
    text = await make(llm, read, size, told)
    if text:
        return Made(text, note)
    return Made(first_sentences(texts), "the LLM said nothing that the document supports: its first sentences instead")


async def _onwards(llm: LlmClient, read: Sequence[str], _: int, told: Told) -> str:
    summary = ""
    for done, piece in enumerate(read):
        await told(done, len(read), f"reading part {done + 1} of {len(read)}")
        question = _MORE.format(summary=summary, text=piece) if summary else _ONE.format(text=piece)
        summary = await _ask(llm, question, f"{summary}\n{piece}") or summary
    return summary


async def _levels(llm: LlmClient, read: Sequence[str], size: int, told: Told) -> str:
    question, level = _ONE, list(read)
    while True:
        answers = []
        for done, piece in enumerate(level):
            await told(done, len(level), f"reading part {done + 1} of {len(level)}")
            answers.append(await _ask(llm, question.format(text=piece), piece))
        answers = [answer for answer in answers if answer]
        if len(answers) < 2:
            return "".join(answers)
        joined = pieces(answers, size)
        # A model that does not shorten would go round for ever.
        level = joined if len(joined) < len(level) else ["\n\n".join(answers)[:size]]
        question = _JOIN


async def _ask(llm: LlmClient, question: str, source: str) -> str:
    """What the model says and the source supports."""
    chat = [{"role": "system", "content": _ROLE}, {"role": "user", "content": question}]
    return supported((await llm.complete(chat, max_tokens=ANSWER_TOKENS, temperature=0.0)).text, source)


def supported(summary: str, source: str) -> str:
    """The first five sentences that say something new, in words and numbers of the source.

    Small models repeat themselves and make figures up. A sentence stays when every number of it, and most of its
    words, are in the source.
    """
    known = set(analyze(source))
    kept: dict[tuple[str, ...], str] = {}
    for sentence in sentences(summary):
        words = tuple(analyze(sentence))
        shared = sum(word in known for word in words)
        numbers_hold = all(word in known for word in words if any(letter.isdigit() for letter in word))
        if words and numbers_hold and shared >= LEAST_SHARED * len(words):
            kept.setdefault(words, sentence)
    return " ".join(list(kept.values())[:MOST_SENTENCES])


def first_sentences(texts: Sequence[str]) -> str:
    """The beginning of a document in its own words; chunks begin with a line of headings."""
    said = [sentence for text in texts for sentence in sentences(text.partition("\n")[2] or text)]
    return " ".join(list(dict.fromkeys(said))[:MOST_SENTENCES])


def pieces(texts: Sequence[str], size: int) -> list[str]:
    """Texts joined to pieces of at most `size` characters; a longer text is cut."""
    found: list[str] = []
    for part in (text[begin : begin + size] for text in texts for begin in range(0, len(text), size)):
        if found and len(found[-1]) + len(part) + 2 <= size:
            found[-1] += "\n\n" + part
        else:
            found.append(part)
    return found


def chosen(chunks: Sequence[Chunk], options: dict[str, Any], pages: int) -> list[str]:
    """The texts that are to be read: of the pages of `page_filter`, and only plain text in a shallow summary."""
    wanted = page_numbers(options.get("page_filter"), pages)
    shallow = bool(options.get("shallow_summary"))
    return [chunk.text for chunk in chunks
            if (wanted is None or chunk.page in wanted) and (not shallow or chunk.type in SEEN)]


def page_numbers(page_filter: Any, pages: int) -> set[int] | None:
    """Pages from 1: of ranges [first, last] (negative: counted from the end), `even` or `odd`; None means all."""
    if page_filter is None:
        return None
    if page_filter in ("even", "odd"):
        return set(range(2 if page_filter == "even" else 1, pages + 1, 2))
    found: set[int] = set()
    for first, last in page_filter:
        begin, end = (number if number >= 0 else pages + 1 + number for number in (first, last))
        found.update(range(max(1, begin), min(pages, end) + 1))
    return found

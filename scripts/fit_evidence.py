"""Fit the weights of `ullage.rag.evidence._score` on questions about the sample handbook.

Start a stack, ingest samples/handbook, then: python scripts/fit_evidence.py samples/questions-dev.jsonl
samples/questions-fit.jsonl. For each question the model chooses one of its candidate sentences, or none; right are the
sentences that hold the question's facts. Prints the weights and what is decided rightly when each question is left out.
Needs torch. Never give it samples/questions.jsonl: that is the test set.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from ullage.rag.connections import connect
from ullage.rag.context import Context
from ullage.rag.evaluate import has_facts, read_questions
from ullage.rag.events import Ordered
from ullage.rag.evidence import Evidence
from ullage.rag.pipeline import Rag
from ullage.settings import load

FEATURES = ("asked", "cosine", "answers", "missing", "gap", "passage", "none")
PENALTY = 0.003


@dataclass(frozen=True)
class Example:
    """`rows` [candidates, features]; `right` marks the sentences that hold the facts."""

    answerable: bool
    rows: torch.Tensor
    right: torch.Tensor


def features(item: Evidence) -> list[float]:
    return [item.asked, item.cosine, float(item.answers), min(len(item.missing), 2), item.gap, item.passage, 1.0]


async def examples(paths: list[Path]) -> list[Example]:
    settings = load().settings
    clients = connect(settings)
    rag, found = Rag(settings, clients), []
    try:
        for question in [item for path in paths for item in read_questions(path)]:
            ordered = Ordered(())
            async for event in rag.search(rag.asked(question.question)):
                ordered = event if isinstance(event, Ordered) else ordered
            _, evidence = await rag._weigh(clients, question.question, ordered, Context(ordered.passages))
            right = [question.answerable and has_facts(item.text, question.facts) for item in evidence]
            rows = torch.tensor([features(item) for item in evidence], dtype=torch.float64)
            found.append(Example(question.answerable, rows, torch.tensor(right)))
    finally:
        await clients.close()
    return found


def fit(given: list[Example]) -> torch.Tensor:
    weights = torch.zeros(len(FEATURES), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=60, line_search_fn="strong_wolfe")
    usable = [example for example in given if not example.answerable or example.right.any()]

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        total = PENALTY * len(usable) * (weights**2).sum()
        for example in usable:
            scores = example.rows @ weights
            everything = torch.logsumexp(torch.cat([scores, scores.new_zeros(1)]), 0)
            chosen = torch.logsumexp(scores[example.right], 0) if example.answerable else scores.new_zeros(())
            total = total + everything - chosen
        total.backward()
        return total

    optimizer.step(loss)
    return weights.detach()


def main() -> None:
    given = asyncio.run(examples([Path(path) for path in sys.argv[1:]]))
    print({name: round(float(value), 2) for name, value in zip(FEATURES, fit(given), strict=True)})
    answered = declined = 0
    for left_out, example in enumerate(given):
        scores = example.rows @ fit(given[:left_out] + given[left_out + 1 :])
        best = int(scores.argmax())
        answered += bool(example.answerable and scores[best] > 0 and example.right[best])
        declined += bool(not example.answerable and scores[best] <= 0)
    answerable = sum(example.answerable for example in given)
    print(f"left out one by one: right sentence for {answered} of {answerable}, "
          f"declined {declined} of {len(given) - answerable}")


if __name__ == "__main__":
    main()

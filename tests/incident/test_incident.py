"""The incident, survived: on a simulated A100DX with 58 GiB held by others, every attempt of the report ends ready, or
refused with the line that names the mistake."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from incident.attempts import ATTEMPTS, COMPOSE, LOGS, Attempt
from incident.simulated import Card, Opener
from ullage.devices import find_machine
from ullage.errors import SettingsError
from ullage.models.card import find_card
from ullage.models.files import locate
from ullage.models.resolve import resolve
from ullage.models.tokenize import Tokenizer
from ullage.plan import ServicePlan, plan_service
from ullage.serve.ranking.app import create_app
from ullage.settings import Effective, load

GIB = 1 << 30
MACHINE = find_machine("a100dx-80c-held")
DOCUMENT = Path(__file__).parents[2] / "docs" / "incident.md"
ENDS: dict[str, str] = {}
"""How each attempt ended in this run: the rows of the document."""


@pytest.fixture
def card() -> Card:
    return Card(MACHINE.gpus[0].free_bytes)


@pytest.fixture
def opener(card, model_cache, monkeypatch) -> Opener:
    paths = locate(find_card("ullage/minilm-fusion-ranker", "ranking"), model_cache)
    made = Opener(card, Tokenizer(paths["tokenizer"]))
    monkeypatch.setattr("ullage.serve.encoder.open_encoder", made)
    return made


def plan(environ: dict[str, str], model: str, cache: Path) -> tuple[Effective, ServicePlan]:
    """What `ullage serve ranking` does with this environment before it loads anything."""
    given = {name: value.format(cache=cache) for name, value in COMPOSE.items()}
    effective = load(service="ranking", environ={**given, "ULLAGE_RANKING_MODEL": model, **environ})
    return effective, plan_service("ranking", resolve(model, "ranking"), effective.settings, MACHINE)["ranking"]


async def ask(client, model, passages, tokens=3):
    body = {"model": model, "query": {"text": "is it ready"}, "truncate": "END",
            "passages": [{"text": f"passage {number} " + "word " * tokens} for number in range(passages)]}
    return await client.post("/v1/ranking", json=body, timeout=120)


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.number)
async def test_every_attempt_ends_ready_or_is_told_its_mistake(attempt: Attempt, opener, card, serve, tmp_path):
    if attempt.stale_plan:
        plan_file = tmp_path / "ngc/hub/models--nim--nvidia--llama-3.2-nv-rerankqa-1b-v2/snapshots/a100x1/model.plan"
        plan_file.parent.mkdir(parents=True)
    try:
        effective, planned = plan(attempt.environ, attempt.model, tmp_path)
    except SettingsError as refusal:
        assert attempt.ends != "ready"
        assert attempt.ends in refusal.message
        assert "list-model-profiles" in refusal.message
        ENDS[attempt.number] = f"refused: {refusal.message}"
        return
    assert attempt.ends == "ready"
    assert all(any(note.startswith(name) for note in effective.notes) for name in attempt.notes)
    assert not attempt.profile or planned.profile_id == attempt.profile
    free = card.free_bytes
    for _ in range(attempt.starts):
        async with serve(create_app(effective.settings, planned)) as client:
            assert (await client.get("/v1/health/ready")).status_code == 200
            assert (await ask(client, planned.card.name, 5)).status_code == 200
            assert free - card.free_bytes == planned.gpu_ledger.total
        assert card.free_bytes == free
    mine = [note for note in effective.notes if note.split("=")[0] in attempt.environ]
    gib = planned.gpu_ledger.total / GIB
    ENDS[attempt.number] = f"ready on `{planned.profile_id}`, {gib:.2f} GiB" + "".join(f"; {note}" for note in mine)


@pytest.mark.parametrize("logged", LOGS, ids=lambda logged: logged.number)
async def test_what_killed_it_in_the_logs_does_not(logged, opener, card, serve, tmp_path):
    effective, planned = plan(logged.pinned, logged.model, tmp_path)
    async with serve(create_app(effective.settings, planned)) as client:
        card.take(min(logged.others_take_bytes, card.free_bytes))
        for passages in logged.passages:
            answer = await ask(client, planned.card.name, passages, tokens=8300)
            assert answer.status_code == 200
            assert len(answer.json()["rankings"]) == passages
        memory = (await client.get("/v1/memory")).json()
        assert memory["profile"] == planned.profile_id
        assert (await client.get("/v1/health/ready")).status_code == 200
    [engine] = opener.engines
    assert 0 < engine.largest_tokens <= planned.profile.max_tokens
    ENDS[logged.number] = (f"ready all along on `{planned.profile_id}`: {max(logged.passages)} passages of 8192 tokens "
                           f"ran {planned.profile.max_tokens} tokens at a time at most")


def test_the_document_tells_what_this_run_gave():
    if len(ENDS) < len(ATTEMPTS) + len(LOGS):
        pytest.fail(f"only {len(ENDS)} attempts ran: run the whole file")
    lines = ["| | what the author tried | the vendor's service | ullage |", "|---|---|---|---|"]
    lines += [f"| {a.number} | {a.tried} {_environment(a.environ)}| 503 for good | {ENDS[a.number]} |"
              for a in ATTEMPTS]
    lines += ["", "| | what his logs show | ullage, same calls |", "|---|---|---|"]
    lines += [f"| {entry.number} | {entry.log} | {ENDS[entry.number]} |" for entry in LOGS]
    table = "\n".join(lines) + "\n"
    if os.environ.get("ULLAGE_WRITE_DOCUMENT"):
        head = DOCUMENT.read_text(encoding="utf-8").split("<!-- table -->")[0]
        DOCUMENT.write_text(f"{head}<!-- table -->\n{table}", encoding="utf-8")
    assert table in DOCUMENT.read_text(encoding="utf-8"), "run scripts/incident to write it again"


def _environment(environ: dict[str, str]) -> str:
    return "".join(f"`{name}={value}` " for name, value in environ.items())

"""The envelope of a llama.cpp process follows its shape; the integration test holds it against a real one."""

import pytest

from ullage.models.card import find_card
from ullage.plan import Profile
from ullage.plan.llama import llama_envelope, llama_ledger

CARD = find_card("smollm2-135m-instruct", "llm")
MIB = 1 << 20

MEASURED_MIB = {1024: 247.6, 2048: 270.8, 4096: 317.1, 8192: 405.0}
"""Resident set of the whole server after a prompt that fills its context; xllamacpp 2026.10.11549, 2 cores."""


@pytest.mark.parametrize("context", MEASURED_MIB)
def test_the_prediction_is_near_the_measurement(context):
    parts = llama_envelope(CARD.shape, CARD.file("weights").size, context)
    assert sum(parts.values()) / MIB == pytest.approx(MEASURED_MIB[context], rel=0.03)


def test_the_cache_is_its_formula_and_parallel_sequences_each_have_one():
    one = llama_envelope(CARD.shape, 0, 1024)
    two = llama_envelope(CARD.shape, 0, 1024, parallel=2)
    assert one["kv_cache"] == 30 * 3 * 64 * 2 * 2 * 1024
    assert two["kv_cache"] == 2 * one["kv_cache"]


def test_the_ledger_is_the_envelope():
    ledger = llama_ledger(CARD, Profile("cpu", CARD.precision, 4096, 2048))
    parts = llama_envelope(CARD.shape, CARD.file("weights").size, 2048, parallel=2)
    assert ledger.total == sum(parts.values())
    assert ledger.weights == CARD.file("weights").size

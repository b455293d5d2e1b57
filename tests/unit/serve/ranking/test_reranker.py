"""`from ullage import Reranker`: the same engine in this process."""

import threading

import pytest

from ullage import Reranker
from ullage.errors import DoesNotFit, InvalidRequest, ModelNotFound, TooLong

QUERY = "When is the siren tested?"
PASSAGES = ["Lunch is at noon.", "The evacuation siren is tested every Thursday.", "Sirens are grey."]


@pytest.fixture(scope="module")
def reranker(model_cache):
    with Reranker(threads=1) as loaded:
        yield loaded


def test_best_first_with_index_and_text(reranker):
    ranked = reranker.rank(QUERY, PASSAGES, top_k=2)
    assert ranked[0].index == 1
    assert ranked[0].text == PASSAGES[1]
    assert len(ranked) == 2
    assert ranked[0].logit > ranked[1].logit


def test_many_threads_get_the_numbers_of_one(reranker):
    alone = reranker.rank(QUERY, PASSAGES)
    together = []
    threads = [threading.Thread(target=lambda: together.append(reranker.rank(QUERY, PASSAGES))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [alone] * 6


def test_bad_calls_are_refused(reranker):
    with pytest.raises(InvalidRequest, match="query is blank"):
        reranker.rank(" ", PASSAGES)
    with pytest.raises(InvalidRequest, match="list of at least one text"):
        reranker.rank(QUERY, "one string")
    with pytest.raises(InvalidRequest, match="top_k=0"):
        reranker.rank(QUERY, PASSAGES, top_k=0)
    with pytest.raises(TooLong, match="exceeds maximum allowed"):
        reranker.rank(QUERY, ["word " * 600], truncate="NONE")


def test_a_budget_too_small_loads_nothing():
    with pytest.raises(DoesNotFit, match="the smallest budget that works is"):
        Reranker(memory="50MiB")


def test_an_unknown_model_names_the_known():
    with pytest.raises(ModelNotFound, match="ullage/minilm-fusion-ranker"):
        Reranker("no/such-model")


def test_closed_is_closed(model_cache):
    reranker = Reranker(threads=1)
    reranker.close()
    reranker.close()
    with pytest.raises(RuntimeError, match="closed"):
        reranker.rank(QUERY, PASSAGES)

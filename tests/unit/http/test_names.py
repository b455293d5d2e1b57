"""The names a served model answers to, in every spelling that clients use."""

import pytest

from ullage.http.names import Names, plain

NAMES = Names.of(["nvidia/llama-3.2-nv-rerankqa-1b-v2", "nvidia/llama-nemotron-rerank-1b-v2", "", "our-reranker",
                  "our-reranker"])


@pytest.mark.parametrize("name", ["nvidia/llama-3.2-nv-rerankqa-1b-v2", "llama-nemotron-rerank-1b-v2", "our-reranker"])
def test_listed_names_count_with_and_without_their_publisher(name):
    assert NAMES.knows(name)


@pytest.mark.parametrize("name", ["", "nvidia", "other/llama-nemotron-rerank-1b-v2", "OUR-RERANKER", "our_reranker"])
def test_others_do_not(name):
    assert not NAMES.knows(name)


@pytest.mark.parametrize(
    "name", ["nvidia_llama_3_2_nv_rerankqa_1b_v2", "nvidia/llama-3_2-nv-rerankqa-1b-v2",
             "llama_nemotron_rerank_1b_v2", "nvidia/llama-3.2-nv-rerankqa-1b-v2"])
def test_paths_and_grpc_have_underscores(name):
    assert NAMES.knows_plain(name)
    assert not NAMES.knows_plain(f"{name}x")


def test_names_are_listed_once_and_a_refusal_names_them():
    assert NAMES.listed == ("nvidia/llama-3.2-nv-rerankqa-1b-v2", "nvidia/llama-nemotron-rerank-1b-v2", "our-reranker")
    assert plain(NAMES.listed[1]) == "nvidia_llama_nemotron_rerank_1b_v2"
    assert "our-reranker is" in NAMES.unknown("x").message

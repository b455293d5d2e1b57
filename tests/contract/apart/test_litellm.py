"""litellm's nvidia_nim rerank, by the hosted path and by /v1/ranking, and its embeddings."""

import litellm
import pytest
from servers import BEST, EMBEDDER, PASSAGES, QUERY, RANKER


@pytest.mark.parametrize("prefix", ["nvidia_nim/", "nvidia_nim/ranking/"])
def test_reranks(ranking, prefix):
    answer = litellm.rerank(
        model=f"{prefix}{RANKER}", query=QUERY, documents=PASSAGES, top_n=2, api_base=ranking.url, api_key="none"
    )
    assert answer.results[0]["index"] == BEST
    assert len(answer.results) == 2
    assert answer.results[0]["relevance_score"] > answer.results[1]["relevance_score"]


def test_embeds(embedding):
    answer = litellm.embedding(
        model=f"nvidia_nim/{EMBEDDER}", input=["a", "b"], api_base=f"{embedding.url}/v1", api_key="none",
        input_type="query",
    )
    assert [len(item["embedding"]) for item in answer.data] == [384, 384]

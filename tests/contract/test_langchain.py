"""langchain-nvidia-ai-endpoints."""

import pytest
from langchain_core.documents import Document
from langchain_nvidia_ai_endpoints import NVIDIAEmbeddings, NVIDIARerank
from servers import BEST, EMBEDDER, PASSAGES, QUERY, RANKER


@pytest.mark.parametrize("model", [None, RANKER])
def test_reranks_more_than_one_batch(ranking, model):
    client = NVIDIARerank(base_url=f"{ranking.url}/v1", api_key="none", top_n=2, **({"model": model} if model else {}))
    documents = [Document(page_content=text) for text in PASSAGES] * 20
    ranked = client.compress_documents(query=QUERY, documents=documents)
    assert [document.page_content for document in ranked] == [PASSAGES[BEST]] * 2
    assert ranked[0].metadata["relevance_score"] >= ranked[1].metadata["relevance_score"]


def test_too_long_is_refused_in_the_words_it_looks_for_and_end_cuts(ranking):
    documents = [Document(page_content="charging " * 700)]
    client = NVIDIARerank(base_url=f"{ranking.url}/v1", api_key="none", model=RANKER, truncate="NONE")
    with pytest.raises(Exception, match="exceeds maximum allowed") as refused:
        client.compress_documents(query=QUERY, documents=documents)
    assert "422" in str(refused.value)
    client = NVIDIARerank(base_url=f"{ranking.url}/v1", api_key="none", model=RANKER, truncate="END")
    assert len(client.compress_documents(query=QUERY, documents=documents)) == 1


def test_embeds_queries_and_documents_in_batches(embedding):
    client = NVIDIAEmbeddings(base_url=f"{embedding.url}/v1", api_key="none", model=EMBEDDER)
    assert len(client.embed_query("a question")) == 384
    assert len(client.embed_documents(["a passage"] * 60)) == 60


def test_embedding_too_long_is_refused_in_the_words_it_looks_for(embedding):
    client = NVIDIAEmbeddings(base_url=f"{embedding.url}/v1", api_key="none", model=EMBEDDER, truncate="NONE")
    with pytest.raises(Exception, match="exceeds maximum allowed"):
        client.embed_query("word " * 700)


def test_an_unknown_model_is_not_found(embedding):
    client = NVIDIAEmbeddings(base_url=f"{embedding.url}/v1", api_key="none", model=EMBEDDER)
    client.model = "nobody/knows-it"
    with pytest.raises(Exception, match="404"):
        client.embed_query("x")

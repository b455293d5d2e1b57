"""cohere, both generations of its client."""

import cohere
import pytest
from servers import BEST, PASSAGES, QUERY, RANKER


@pytest.fixture
def v2(ranking):
    return cohere.ClientV2(api_key="none", base_url=ranking.url)


@pytest.fixture
def v1(ranking):
    return cohere.Client(api_key="none", base_url=ranking.url)


def test_v2_reranks(v2):
    answer = v2.rerank(model=RANKER, query=QUERY, documents=PASSAGES, top_n=2)
    assert answer.results[0].index == BEST
    assert 0 < answer.results[1].relevance_score < answer.results[0].relevance_score < 1
    assert len(answer.results) == 2
    assert answer.id
    assert answer.meta.api_version.version == "2"


def test_v2_cuts_documents_as_asked(v2):
    answer = v2.rerank(model=RANKER, query=QUERY, documents=["charging " * 700, "b"], max_tokens_per_doc=100)
    assert len(answer.results) == 2


def test_v1_reranks_and_gives_documents_back(v1):
    documents = [{"text": text, "title": str(index)} for index, text in enumerate(PASSAGES)]
    answer = v1.rerank(model=RANKER, query=QUERY, documents=documents, return_documents=True, max_chunks_per_doc=4)
    assert answer.results[0].index == BEST
    assert answer.results[0].document.text == PASSAGES[BEST]
    assert answer.meta.api_version.version == "1"


def test_errors_are_of_its_own_kinds(v2):
    with pytest.raises(cohere.NotFoundError, match="is not served here"):
        v2.rerank(model="nobody", query=QUERY, documents=PASSAGES)
    with pytest.raises(cohere.BadRequestError, match="query"):
        v2.rerank(model=RANKER, query=" ", documents=PASSAGES)

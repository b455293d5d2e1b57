"""Public clients from the package index against our running services."""

import gc

import pytest
from langchain_core.documents import Document
from langchain_nvidia_ai_endpoints import NVIDIAEmbeddings, NVIDIARerank
from openai import OpenAI

from processes import running

EMBEDDER = "sentence-transformers/all-MiniLM-L6-v2"
RANKER = "ullage/minilm-fusion-ranker"


@pytest.fixture(scope="module")
def ranking(model_cache, tmp_path_factory):
    with running("ranking", tmp_path_factory.mktemp("ranking")) as service:
        yield service


@pytest.fixture(scope="module")
def embedding(model_cache, tmp_path_factory):
    with running("embedding", tmp_path_factory.mktemp("embedding")) as service:
        yield service


pytestmark = [
    # The client warns that it cannot find our model in NVIDIA's own list, and never closes its sockets.
    pytest.mark.filterwarnings("ignore::UserWarning:langchain_nvidia_ai_endpoints"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def collect_what_clients_leave():
    yield
    gc.collect()


@pytest.mark.parametrize("model", [None, RANKER])
def test_langchain_reranks(ranking, model):
    client = NVIDIARerank(base_url=f"{ranking.url}/v1", api_key="none", top_n=2, **({"model": model} if model else {}))
    documents = [Document(page_content=text) for text in ("Tea.", "The siren sounds on Thursday.", "Boats.")] * 20
    ranked = client.compress_documents(query="When does the siren sound?", documents=documents)
    assert [document.page_content for document in ranked] == ["The siren sounds on Thursday."] * 2


def test_langchain_embeds(embedding):
    client = NVIDIAEmbeddings(base_url=f"{embedding.url}/v1", api_key="none", model=EMBEDDER)
    assert len(client.embed_query("a question")) == 384
    assert len(client.embed_documents(["a passage"] * 60)) == 60


def test_openai_embeds_by_base64(embedding):
    with OpenAI(base_url=f"{embedding.url}/v1", api_key="none") as client:
        answer = client.embeddings.create(model=EMBEDDER, input=["a", "b"])
        assert [len(item.embedding) for item in answer.data] == [384, 384]
        assert client.models.list().data[0].id == EMBEDDER


def test_a_service_drains_and_stops_on_sigterm(model_cache, tmp_path):
    with running("ranking", tmp_path) as service:
        assert service.stop() == 0

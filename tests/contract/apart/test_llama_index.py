"""llama-index-postprocessor-nvidia-rerank and llama-index-embeddings-nvidia."""

from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.embeddings.nvidia import NVIDIAEmbedding
from llama_index.postprocessor.nvidia_rerank import NVIDIARerank
from servers import BEST, EMBEDDER, PASSAGES, QUERY, RANKER


def nodes(times=1):
    return [NodeWithScore(node=TextNode(text=text)) for text in PASSAGES * times]


def test_reranks_without_a_key_and_without_a_model(ranking):
    found = NVIDIARerank(base_url=f"{ranking.url}/v1", top_n=1).postprocess_nodes(nodes(), query_str=QUERY)
    assert found[0].text == PASSAGES[BEST]


def test_reranks_more_than_one_batch_with_truncation(ranking):
    client = NVIDIARerank(model=RANKER, base_url=f"{ranking.url}/v1", top_n=3, truncate="END")
    found = client.postprocess_nodes(nodes(30), query_str=QUERY)
    assert {node.text for node in found} == {PASSAGES[BEST]}


def test_embeds_queries_and_passages(embedding):
    client = NVIDIAEmbedding(model=EMBEDDER, base_url=f"{embedding.url}/v1", truncate="END", embed_batch_size=64)
    assert len(client.get_query_embedding("a question")) == 384
    assert [len(row) for row in client.get_text_embedding_batch(["a passage"] * 100)] == [384] * 100

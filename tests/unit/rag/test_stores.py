"""Collections, filters and places: several at once, OpenAI's vector store search, summaries."""

import json

import pytest

from rag_stubs import CHUNKS, content, fill, parse, prompt, small
from ullage.rag.stores import Comparison, Compound, filter_text
from ullage.rag.summary import summary_response
from ullage.settings import Settings
from ullage.store import MetadataField, SummaryLedger, VectorStore
from ullage.store.places import summary_place

TUG = "What is the hourly price of the tug from Kettlehaven?"
YEARS = [{"year": 2020 + n, "location": [10, 20, 110, 60], "location_max_dimensions": [595.3, 841.9]}
         for n in range(len(CHUNKS))]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    opened = VectorStore(str(tmp_path_factory.mktemp("stores") / "vectors.db"))
    year = MetadataField(name="year", type="integer")
    fill(opened, chunks=CHUNKS[:3], schema=(year,), metadata=YEARS[:3])
    fill(opened, "more", CHUNKS[3:], metadata=YEARS[3:])
    yield opened
    opened.close()


@pytest.fixture
async def rag(store, tmp_path):
    async with small(store, tmp_path) as server:
        yield server


async def test_several_collections_are_ranked_together(rag):
    body = {"query": "tug waste oil", "collection_names": ["handbook", "more"]}
    found = (await rag.http.post("/search", json=body)).json()
    assert {item["metadata"]["collection_name"] for item in found["results"]} == {"handbook", "more"}
    assert found["total_results"] == len(CHUNKS)
    logits = [item["metadata"]["logit"] for item in found["results"]]
    assert logits == sorted(logits, reverse=True)
    assert rag.stubs["ranking"].calls == 1


async def test_a_citation_says_where_it_stands_on_the_page(rag):
    chunks = parse((await rag.http.post("/generate", json=prompt(TUG))).text)
    where = chunks[0]["citations"]["results"][0]["metadata"]
    assert where["location"] == [10, 20, 110, 60]
    assert where["location_max_dimensions"] == [595.3, 841.9]
    assert (where["width"], where["height"]) == (595, 842)
    assert where["content_metadata"]["year"] == 2020
    assert "location" not in where["content_metadata"]
    cited = chunks[-1]["grounding"]["citations"][0]
    assert (cited["passage"], cited["location"], cited["location_max_dimensions"]) == (
        0, [10, 20, 110, 60], [595.3, 841.9])


@pytest.mark.parametrize(
    ("wanted", "documents"),
    [
        ('content_metadata["year"] == 2021', ["plan.pdf"]),
        ('content_metadata["year"] > 2020 and content_metadata["filename"] == "manual.pdf"', ["manual.pdf"]),
        ('content_metadata["page_number"] between 5 and 9', ["manual.pdf"]),
    ],
)
async def test_a_filter_holds_for_search_and_answers(rag, wanted, documents):
    found = (await rag.http.post("/search", json={"query": TUG, "filter_expr": wanted})).json()
    assert [item["document_name"] for item in found["results"]] == documents
    assert found["filter"] == wanted
    answer = await rag.http.post("/generate", json=prompt(TUG, filter_expr=wanted))
    assert {item["document_name"] for item in parse(answer.text)[0]["citations"]["results"]} == set(documents)


async def test_a_filter_at_fault_says_where(rag):
    answer = await rag.http.post("/search", json={"query": TUG, "filter_expr": 'content_metadata["colour"] == "red"'})
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("Invalid filter expression: there is no field 'colour'")


async def test_partial_filters_leave_out_collections_without_the_field(store, tmp_path):
    store.create_collection("third", embedder="m", dimension=256, schema=(MetadataField(name="other", type="string"),))
    body = {"query": TUG, "collection_names": ["handbook", "third"], "filter_expr": 'content_metadata["year"] == 2020'}
    async with small(store, tmp_path) as rag:
        strict = await rag.http.post("/search", json=body)
    async with small(store, tmp_path, partial_filters=True) as rag:
        partial = (await rag.http.post("/search", json=body)).json()
    assert strict.status_code == 400
    assert [item["metadata"]["page_number"] for item in partial["results"]] == [13]
    assert partial["notes"] == ["the filter's fields are not in third: not searched"]


async def test_a_collection_is_a_vector_store(rag):
    body = {"query": ["the tug from", "Kettlehaven"], "max_num_results": 2, "rewrite_query": True,
            "filters": {"type": "and", "filters": [{"key": "year", "type": "gte", "value": 2020},
                                                   {"key": "filename", "type": "in", "value": ["plan.pdf"]}]}}
    page = (await rag.http.post("/v2/vector_stores/handbook/search", json=body)).json()
    assert (page["object"], page["has_more"], page["next_page"]) == ("vector_store.search_results.page", False, None)
    assert page["search_query"] == ["the tug from Kettlehaven"]
    assert [item["filename"] for item in page["data"]] == ["plan.pdf", "plan.pdf"]
    first = page["data"][0]
    assert first["attributes"]["page_number"] == 13
    assert first["content"][0]["type"] == "text"
    assert 0.5 < first["score"] < 1


@pytest.mark.parametrize("ranker", ["none", "OFF", "0"])
async def test_a_vector_store_without_ranker(rag, ranker):
    body = {"query": TUG, "ranking_options": {"ranker": ranker, "score_threshold": 0.9}}
    page = (await rag.http.post("/v2/vector_stores/handbook/search", json=body)).json()
    assert [item["score"] for item in page["data"]] == [0.0, 0.0, 0.0]
    assert rag.stubs["ranking"].calls == 0


async def test_a_vector_store_that_is_not_there_is_a_400_and_bad_bounds_a_422(rag):
    missing = await rag.http.post("/v2/vector_stores/nope/search", json={"query": "x"})
    bad = await rag.http.post("/v2/vector_stores/handbook/search", json={"query": "x", "max_num_results": 51})
    kind = await rag.http.post("/v2/vector_stores/handbook/search",
                               json={"query": "x", "filters": {"key": "year", "type": "in", "value": 3}})
    assert (missing.status_code, bad.status_code, kind.status_code) == (400, 422, 400)
    assert missing.json()["message"].startswith("Collection nope does not exist.")
    assert kind.json() == {"message": "filters: in of 'year' takes a list"}


def test_keys_are_quoted_so_that_no_key_is_a_filter():
    key = 'x"] == 1 or content_metadata["y'
    text = filter_text(Compound(type="or", filters=[Comparison(key=key, type="ne", value='a"b')]))
    assert text == '(content_metadata["x\\"] == 1 or content_metadata[\\"y"] != "a\\"b")'


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_summaries_are_read_from_the_ingestors_ledger(rag, tmp_path, prefix):
    where = {"collection_name": "handbook", "file_name": "plan.pdf"}
    none = await rag.http.get(f"{prefix}/summary", params=where)
    ledger = SummaryLedger(tmp_path / "ingest" / "summaries.db")
    try:
        ledger.ask("handbook", "plan.pdf", {})
        waiting = await rag.http.get(f"{prefix}/summary", params=where)
        late = await rag.http.get(f"{prefix}/summary", params={**where, "blocking": True, "timeout": 0.01})
        summary = ledger.find("handbook", "plan.pdf")
        ledger.finish(summary, text="About tugs.")
        made = await rag.http.get(f"{prefix}/summary", params={**where, "blocking": True})
        ledger.ask("handbook", "rota.md", {})
        ledger.finish(ledger.find("handbook", "rota.md"), error="no LLM")
        failed = await rag.http.get(f"{prefix}/summary", params={**where, "file_name": "rota.md"})
    finally:
        ledger.close()
    wrong = await rag.http.get(f"{prefix}/summary", params={**where, "timeout": 0})
    answers = (none, waiting, late, made, failed, wrong)
    assert [answer.status_code for answer in answers] == [404, 202, 408, 200, 500, 400]
    assert [answer.json().get("status") for answer in answers] == [
        "NOT_FOUND", "PENDING", "PENDING", "SUCCESS", "FAILED", None]
    assert made.json()["summary"] == "About tugs."
    assert "no LLM" in failed.json()["message"]


async def test_summaries_of_a_shared_ledger_are_read_on_any_machine(postgres_url, tmp_path):
    settings = Settings(ingest_ledger_url=postgres_url, state_dir=tmp_path / "of another machine than the ingestor's")

    async def asked():
        return await summary_response(settings, "c", "a.md", blocking=False, timeout_s=1)

    assert (await asked()).status_code == 404
    ledger = SummaryLedger(summary_place(settings))
    try:
        ledger.ask("c", "a.md", {})
        ledger.finish(ledger.find("c", "a.md"), text="About tugs.")
    finally:
        ledger.close()
    assert json.loads((await asked()).body)["summary"] == "About tugs."
    assert not settings.state_dir.exists()


async def test_nothing_above_the_threshold_is_not_in_the_documents(rag):
    answer = await rag.http.post("/generate", json=prompt(TUG, confidence_threshold=0.99))
    chunks = parse(answer.text)
    assert content(chunks) == "The documents do not contain an answer to this question."
    assert (chunks[0]["citations"]["total_results"], chunks[-1]["grounding"]["declined"]) == (0, True)

"""`ullage serve web` as a process: its routes, what goes through it, and that it comes and goes as servers do."""

import sys

import httpx
import pytest

from processes import running
from ullage.errors import DeadlineExceeded, DependencyDown
from ullage.web.doctor import findings
from web_backend import Backend, listening

PAGES = ("/", "/documents", "/rerank", "/stack")
OURS = {"X-Ullage-Page": "1"}


@pytest.fixture(scope="module")
def backend():
    return Backend()


@pytest.fixture(scope="module")
def page(backend, tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    with listening(backend, folder) as url, running("web", folder, ULLAGE_RAG_URL=url, ULLAGE_INGEST_URL=url,
                                                    ULLAGE_RANKING_URL=url) as served:
        with httpx.Client(base_url=served.url, timeout=30) as client:
            yield client
        assert served.stop() == 0
        assert "Traceback" not in served.log.read_text()


@pytest.mark.parametrize("address", PAGES)
def test_every_part_is_a_page_of_its_own(page, address):
    answer = page.get(address, headers={"accept": "text/html"})
    assert answer.status_code == 200
    assert "/look/page.css" in answer.text
    assert "http://" not in answer.text.replace("http://www.w3.org", "")
    assert "https://" not in answer.text
    assert answer.headers["x-request-id"]


def test_it_has_the_routes_of_every_server(page):
    assert page.get("/v1/health/ready").json()["ready"] is True
    assert page.get("/v1/health/live").status_code == 200
    assert "ullage_http_requests_total" in page.get("/v1/metrics").text
    assert page.get("/v1/version").json()["release"]
    memory = page.get("/v1/memory").json()
    assert 0 < memory["resident_bytes"] <= memory["planned_bytes"]
    assert page.get("/look/page.js").headers["content-type"].startswith("text/javascript")
    assert page.get("/no/such/page").status_code == 404


def test_the_picture_of_a_page_comes_through_and_so_does_why_there_is_none(page):
    asked = {"collection": "multimodal_data", "document": "a.pdf", "page": 1, "pixels": 64}
    found = page.get("/page", params=asked)
    assert found.headers["content-type"] == "image/png"
    assert found.content.startswith(b"\x89PNG")
    refused = page.get("/page", params={**asked, "document": "a.html"})
    assert (refused.status_code, refused.headers["cache-control"]) == (422, "private, max-age=60")
    assert "only of PDFs and pictures" in refused.json()["message"]
    for wrong in ({"page": 0}, {"pixels": 5000}, {"page": "x"}):
        assert page.get("/page", params={**asked, **wrong}).status_code == 422


def test_an_upload_goes_through_and_makes_its_collection(page, backend):
    files, data = {"documents": ("siren.pdf", b"%PDF" * 50_000)}, {"data": '{"collection_name": "fresh"}'}
    assert page.post("/upload?collection=fresh", files=files, data=data).status_code == 422
    assert "fresh" not in backend.collections
    sent = page.post("/upload?collection=fresh", files=files, data=data, headers=OURS)
    assert sent.json()["task_id"]
    assert backend.collections["fresh"]["siren.pdf"]["document_info"]["file_size"] == 200_000


def test_a_browser_without_a_conversation_gets_an_empty_one(page):
    assert page.get("/conversation.md").text.strip() == "# Conversation"


async def test_the_doctors_findings_are_read_from_its_command():
    body = ('{"findings": [{"id": "a", "severity": "error", "title": {"en": "T"}, "cause": {"en": "C"}, "remedy": '
            '{"en": "R"}, "evidence": [{"source": "env", "line": 2, "text": "X=1"}], "commands": ["do it"]}]}')
    found = await findings((sys.executable, "-c", f"print({body!r}); raise SystemExit(11)"))
    assert found == [{"id": "a", "severity": "error", "title": "T", "cause": "C", "remedy": "R",
                      "evidence": ["env: X=1"], "commands": ["do it"]}]


@pytest.mark.parametrize("said", ["", "[]", '{"findings": [{}]}', "{"])
async def test_a_doctor_that_says_nothing_is_said(said):
    with pytest.raises(DependencyDown, match=r"no findings \(exit code 3\): broken"):
        await findings((sys.executable, "-c", f"import sys; print({said!r}); "
                                              "print('broken', file=sys.stderr); sys.exit(3)"))


async def test_a_doctor_that_takes_too_long_is_ended():
    with pytest.raises(DeadlineExceeded, match=r"within 0\.05 s"):
        await findings((sys.executable, "-c", "import time; time.sleep(60)"), timeout_s=0.05)

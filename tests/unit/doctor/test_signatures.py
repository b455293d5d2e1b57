"""Every signature has a log that bears it, public failures are known by their cause, and healthy logs bear none."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ullage.doctor import examine
from ullage.doctor.catalog import Catalog, Signature, catalog
from ullage.errors import SettingsError

FIXTURES = Path(__file__).parents[2] / "doctor"
SIGNATURES = catalog().signatures
ISSUES = yaml.safe_load((FIXTURES / "issues.yaml").read_text(encoding="utf-8"))
HEALTHY = sorted((FIXTURES / "healthy").iterdir())


def test_there_are_at_least_sixty_and_each_has_its_own_id():
    ids = [signature.id for signature in SIGNATURES]
    assert len(ids) >= 60
    assert len(set(ids)) == len(ids)
    assert not {*ids} & {*catalog().checks}


def test_no_log_is_without_its_signature():
    logs = {path.stem for path in (FIXTURES / "signatures").iterdir()}
    assert logs == {signature.id for signature in SIGNATURES}


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda signature: signature.id)
def test_a_log_that_bears_a_signature_is_known_by_it_first(signature: Signature, known: Catalog):
    found = examine([FIXTURES / "signatures" / f"{signature.id}.log"], known).findings
    assert found[0].id == signature.id
    assert found[0].evidence
    assert all(text.in_("de") for text in (found[0].title, found[0].cause, found[0].remedy))


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda signature: signature.id)
def test_every_pattern_and_text_of_a_signature_is_sound(signature: Signature, known: Catalog):
    for words in (signature.title, signature.cause, signature.remedy):
        assert words.de, "it must be said in German too"
        assert words.de != words.en
    assert all(known.entry(id_) for id_ in signature.explains)
    assert all(source.startswith("https://") for source in signature.source)


def test_the_cause_of_public_failures_is_ranked_first(known: Catalog, tmp_path: Path):
    missed = []
    for number, issue in enumerate(ISSUES):
        path = tmp_path / f"{number}.log"
        path.write_text(issue["log"], encoding="utf-8")
        found = examine([path], known).findings
        if not found or found[0].id != issue["expect"]:
            missed.append((issue["link"], [finding.id for finding in found]))
    assert len(ISSUES) >= 30
    assert not missed


def test_the_links_of_public_failures_differ():
    links = [issue["link"] for issue in ISSUES]
    assert len(set(links)) == len(links)


@pytest.mark.parametrize("path", HEALTHY, ids=lambda path: path.name)
def test_a_healthy_file_gives_no_more_than_notes(path: Path, known: Catalog):
    found = examine([path], known).findings
    assert [finding.id for finding in found if finding.severity != "info"] == []


def test_at_least_twenty_files_are_healthy():
    assert len(HEALTHY) >= 20


OWN = """
- id: our-frobnicator
  severity: warning
  any: ["frobnicator {0,3}(jammed|stuck)"]
  title: the frobnicator is stuck
  cause: it was not oiled
  remedy: oil it
- id: cuda-oom
  any: ["very own words of ours"]
  title: replaced
  cause: by ours
  remedy: nothing
"""


def test_signatures_of_ones_own_are_added_and_replace(tmp_path: Path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "ours.yaml").write_text(OWN, encoding="utf-8")
    log = tmp_path / "x.log"
    log.write_text("12:00 Frobnicator jammed\nvery own words of ours\nCUDA out of memory\n", encoding="utf-8")
    found = {f.id: f for f in examine([log], catalog(tmp_path / "own")).findings}
    assert set(found) == {"our-frobnicator", "cuda-oom"}
    assert found["cuda-oom"].title.in_("de") == "replaced"
    assert found["our-frobnicator"].severity == "warning"


@pytest.mark.parametrize(("text", "said"), [
    ("- id: a-b\n  any: ['(?=x)y']\n  title: t\n  cause: c\n  remedy: r\n", "no RE2 pattern"),
    ("- id: a-b\n  any: ['x*']\n  title: t\n  cause: c\n  remedy: r\n", "matches the empty line"),
    ("- id: a-b\n  title: t\n  cause: c\n  remedy: r\n", "patterns under any or all"),
    ("- id: a-b\n  any: [x]\n  cause: c\n  remedy: r\n", "title"),
    ("- id: disk-full\n  any: [x]\n  title: t\n  cause: c\n  remedy: r\n", "built-in check"),
    ("a: &a [*a]\n", "cannot be read as signatures"),
    ("just words\n", "must be a list"),
])
def test_signatures_of_ones_own_that_are_none_are_refused_in_one_line(tmp_path: Path, text: str, said: str):
    (tmp_path / "ours.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=said) as caught:
        catalog(tmp_path)
    assert "\n" not in caught.value.message


def test_a_folder_without_signatures_is_refused(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"holds no \.yaml file"):
        catalog(tmp_path)
    with pytest.raises(SettingsError, match="there is no such folder"):
        catalog(tmp_path / "away")


def test_the_signature_that_the_document_shows_is_one(tmp_path: Path):
    text = (FIXTURES.parents[1] / "docs" / "doctor.md").read_text(encoding="utf-8")
    (tmp_path / "x.yaml").write_text(text.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    log = tmp_path / "x.log"
    log.write_text("upstream ranking\nGateway to it timed out\n", encoding="utf-8")
    [found] = examine([log], catalog(tmp_path)).findings
    assert (found.id, found.severity) == ("our-gateway-timeout", "warning")
    assert found.remedy.in_("de") == "raise the gateway's timeout"

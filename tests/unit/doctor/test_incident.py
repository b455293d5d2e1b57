"""The incident's report, compose values, env and log: the cause, the six settings, the disk, the way out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ullage.cli.main import main
from ullage.doctor import examine
from ullage.doctor.catalog import Catalog
from ullage.doctor.report import as_markdown, as_text
from ullage.doctor.vendor import RERANKER_ONNX

SIX = {
    "NIM_DISABLE_TRT": "NIM_MODEL_PROFILE", "NIM_FORCE_PYTHON": "NIM_MODEL_PROFILE",
    "NIM_BACKENDS": "NIM_MODEL_PROFILE", "NIM_PROFILE_INDEX": "NIM_MODEL_PROFILE",
    "NIM_MAX_BATCH_SIZE": "NIM_TRITON_MAX_BATCH_SIZE", "NIM_MAX_INPUT_LENGTH": "NIM_TRITON_MAX_SEQ_LENGTH",
}
HEADINGS = {
    "en": ["Environment", "What works", "Problem", "Observations", "Causes", "Next steps", "Commands to run"],
    "de": ["Umgebung", "Was funktioniert", "Problem", "Beobachtungen", "Ursachen", "Nächste Schritte",
           "Auszuführende Befehle"],
}


@pytest.mark.parametrize("name", ["report.md", "ranking.log"])
def test_the_cause_is_the_reserved_profiles_and_the_503_its_symptom(name: str, known: Catalog, fixtures: Path):
    first = examine([fixtures / "incident" / name], known).findings[0]
    assert first.id == "trt-profile-oom"
    assert first.severity == "error"
    assert "nim-ready-503" in [symptom.id for symptom in first.symptoms]
    assert RERANKER_ONNX in first.remedy.en
    assert RERANKER_ONNX in first.remedy.de


@pytest.mark.parametrize("name", ["report.md", "nims.yaml"])
def test_the_six_settings_that_do_not_exist_are_named_with_the_real_ones(name: str, known: Catalog, fixtures: Path):
    found = {f.subject: f for f in examine([fixtures / "incident" / name], known).findings if f.id == "unknown-name"}
    assert set(found) == set(SIX)
    for wrong, real in SIX.items():
        for language in ("en", "de"):
            assert real in found[wrong].cause.in_(language)
            assert "1." in found[wrong].cause.in_(language), "the version must be said"


@pytest.mark.parametrize("name", ["nims.yaml", "env.single-a100", "report.md"])
def test_a_value_that_is_no_profile_id_is_named(name: str, known: Catalog, fixtures: Path):
    found = examine([fixtures / "incident" / name], known).findings
    assert any(f.id == "profile-no-id" for f in found)


def test_the_disk_is_named(known: Catalog, fixtures: Path):
    [disk] = [f for f in examine([fixtures / "incident" / "report.md"], known).findings if f.id == "disk-nearly-full"]
    assert "94%" in disk.evidence[0].text


def test_the_sum_on_the_one_gpu_is_shown_with_its_sources(known: Catalog, fixtures: Path):
    from ullage.devices import find_machine

    machine = find_machine("a100dx-80c-held")
    [sums] = [f for f in examine([fixtures / "incident" / "nims.yaml"], known, machine).findings
              if f.id == "gpu-overcommitted"]
    assert sums.severity == "error"
    assert "GRID A100DX-80C" in sums.title.en
    for part in ("nim-llm 72.0 GiB", "nemoretriever-ranking-ms 23.0 GiB", "context-aware-rag pull request 70"):
        assert part in sums.cause.en


def test_what_was_foreseen_and_what_happened_are_one_finding(known: Catalog, fixtures: Path):
    found = examine([fixtures / "incident" / name for name in ("nims.yaml", "ranking.log")], known).findings
    assert found[0].id == "trt-profile-oom"
    assert {one.source for one in found[0].evidence} == {"nims.yaml", "ranking.log"}
    assert "reranker-reserves-largest" not in [f.id for f in found]


def test_pinning_the_onnx_profile_ends_the_warning(known: Catalog, fixtures: Path, tmp_path: Path):
    text = (fixtures / "incident" / "nims.yaml").read_text(encoding="utf-8")
    text = text.replace("a100x1-trt-fp16-dxtbz8wstg", RERANKER_ONNX)
    (tmp_path / "nims.yaml").write_text(text, encoding="utf-8")
    ids = [f.id for f in examine([tmp_path / "nims.yaml"], known).findings]
    assert "reranker-reserves-largest" not in ids
    assert "profile-no-id" not in ids


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_markdown_has_the_shape_of_the_report(language, known: Catalog, fixtures: Path):
    found = examine(sorted((fixtures / "incident").iterdir()), known)
    text = as_markdown(found, language)
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == HEADINGS[language]
    assert "NV-Ingest runtime" in text
    assert "GRID A100DX-80C" in text
    assert f"export NIM_MODEL_PROFILE={RERANKER_ONNX}" in text
    assert as_text(found, language).startswith("[error]" if language == "en" else "[Fehler]")


def test_the_command_says_it_in_german_and_by_its_exit_code(fixtures: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["doctor", str(fixtures / "incident" / "report.md"), "--lang", "de"]) == 11
    said = capsys.readouterr().out
    assert "alle TensorRT-Optimierungsprofile" in said
    assert all(name in said for name in SIX)
    assert "eine Platte ist fast voll" in said


def test_the_json_holds_both_languages(fixtures: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["doctor", "--json", str(fixtures / "incident" / "ranking.log")]) == 11
    said = json.loads(capsys.readouterr().out)
    assert said["severity"] == "error"
    assert said["findings"][0]["id"] == "trt-profile-oom"
    assert set(said["findings"][0]["title"]) == {"en", "de"}

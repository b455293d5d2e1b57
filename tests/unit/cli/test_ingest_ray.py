"""`ullage ingest --ray`: what it refuses before any cluster is asked, and what it tells at the end."""

from __future__ import annotations

from ullage.cli.ingest_ray import Ingestion


def test_a_database_that_is_a_local_file_is_refused(ullage, tmp_path):
    (tmp_path / "a.txt").write_text("text")
    ran = ullage("--set", f"vectors_uri={tmp_path / 'v.db'}", "--set", f"state_dir={tmp_path}", "ingest", "--ray",
                 "local", tmp_path / "a.txt")
    assert ran.code == 2
    assert "needs a server's URI" in ran.refusal
    assert not (tmp_path / "ingest-ray").exists(), "nothing was accepted"


def test_the_end_is_told_with_what_was_refused():
    done = Ingestion("c", files=5, resumed=2, there=1, finished=4, failed=2, seconds=2.0,
                     refused=(("x.pdf", "x.pdf: is broken"),))
    assert done.lines() == [
        "x.pdf: refused: is broken",
        "and 1 more refused",
        "2 file(s) of an earlier run were gone on with",
        "1 file(s) were there already; --update replaces them",
        "c: 4 document(s) ingested, 2 refused, in 2.0 s (3.0 a second)",
    ]

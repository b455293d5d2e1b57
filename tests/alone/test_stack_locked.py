"""A whole stack behind TLS and keys: its services reach each other, others do not, and no key is seen."""

from __future__ import annotations

import httpx
import psutil
import pytest

from stacks import running_stack
from ullage.http.tls import pinned_context

KEY = "only-our-callers-know-9f31"
SOME = "vectors,embedding,ranking,ingest,rag"


def test_services_reach_each_other_and_nobody_else_does(model_cache, tmp_path, tls_pair):
    cert, key = tls_pair
    locked = {"ULLAGE_TLS_CERT": str(cert), "ULLAGE_TLS_KEY": str(key), "ULLAGE_API_KEYS": f"{KEY},another",
              "ULLAGE_LOG_LEVEL": "DEBUG"}
    with running_stack(tmp_path, "--only", SOME, **locked) as stack:
        note = tmp_path / "note.md"
        note.write_text("# Sirens\n\nThe siren is tested every Thursday at noon.\n")
        assert stack.ullage("ingest", str(note)).returncode == 0
        found = stack.json("search", "When is the siren tested?")
        assert "Thursday" in found["results"][0]["content"]
        assert not found.get("degraded")
        assert {s["state"] for s in stack.json("status")["services"]} == {"ready"}
        assert stack.json("restart", "ranking")["service"] == "ranking"

        secure = stack.url("rag").replace("http://", "https://")
        body = {"query": "When is the siren tested?"}
        with httpx.Client(verify=pinned_context(cert), trust_env=False) as http:
            assert http.post(f"{secure}/v1/search", json=body).status_code == 401
            assert http.get(f"{secure}/v1/health/ready").status_code == 200
            known = http.post(f"{secure}/v1/search", json=body, headers={"X-API-Key": "another"}, timeout=60)
            assert known.status_code == 200
            with pytest.raises(httpx.TransportError):
                http.get(f"{stack.url('rag')}/v1/health/ready")

        supervisor = psutil.Process(stack.json("status")["pid"])
        family = [supervisor, *supervisor.children(recursive=True)]
        assert len(family) > len(SOME.split(","))
        assert not [process for process in family if KEY in " ".join(process.cmdline())]
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix in (".log", ".json", ".1")]
    assert len(written) > 4
    assert not [path for path in written if KEY.encode() in path.read_bytes()]

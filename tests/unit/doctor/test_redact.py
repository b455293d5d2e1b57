"""Nothing secret leaves: not in a report, not in a bundle, whatever the form."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from ullage.cli.main import main
from ullage.doctor import examine
from ullage.doctor.catalog import Catalog
from ullage.doctor.redact import redacted, redacted_lines
from ullage.doctor.report import as_json, as_markdown, as_text

SECRETS = {
    "export NGC_API_KEY=nvapi-Abc123Def456_ghi-789": "nvapi-Abc123Def456_ghi-789",
    "key nvapi-Abc123Def456_ghi-789 was refused": "nvapi-Abc123Def456_ghi-789",
    "HF_TOKEN: hf_AbCdEfGhIjKlMnOpQrStUv": "hf_AbCdEfGhIjKlMnOpQrStUv",
    "Authorization: Bearer abcDEF123456.xyz": "abcDEF123456.xyz",
    "curl -H 'Authorization: Basic dXNlcjpwYXNz'": "dXNlcjpwYXNz",
    'MINIO_SECRET_KEY="hunter2hunter2"': "hunter2hunter2",
    "MINIO_ACCESSKEY: minioadminX": "minioadminX",
    "password=Tr0ub4dor&3": "Tr0ub4dor",
    "Passwort: geheim99": "geheim99",
    '{"api_key": "sekrit-value-1"}': "sekrit-value-1",
    "APP_VECTORSTORE_PASSWORD=p4ssw0rd!": "p4ssw0rd!",
    "mysql --password s3cr3tpw -h db": "s3cr3tpw",
    "redis://default:sup3rpass@redis:6379/0": "sup3rpass",
    "https://alice:pw@registry.example.org/v2/": "alice",
    "reading /home/margarete/models/x.bin": "margarete",
    "open C:\\Users\\Margarete\\nim": "Margarete",
    "/Users/margarete/.cache": "margarete",
    "AWS key AKIAIOSFODNN7EXAMPLE in use": "AKIAIOSFODNN7EXAMPLE",
    "token=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl": "eyJhbGciOiJIUzI1NiJ9",
    "pushed with ghp_abcdefghijklmnopqrstuvwxyz0123": "ghp_abcdefghijklmnopqrstuvwxyz0123",
    "mail to margarete.m@example.org": "margarete.m",
    "sk-proj-abcdefghijklmnop1234": "sk-proj-abcdefghijklmnop1234",
}


@pytest.mark.parametrize(("line", "secret"), SECRETS.items(), ids=range(len(SECRETS)))
def test_a_secret_is_taken_out_of_a_line(line: str, secret: str):
    assert secret in line
    assert secret not in redacted(line)


@pytest.mark.parametrize("line", [
    "NIM_MODEL_PROFILE=f7391ddbcb95b2406853526b8e489fedf20083a2420563ca3e65358ff417b10f",
    "Input length 12007 exceeds maximum allowed token size 8192",
    "max_batch_tokens: 16384, tokens: 512", "APP_LLM_SERVERURL=http://nim-llm:8000",
    "/opt/nim/.cache/ngc/hub: Permission denied", "GPU KV cache size: 427,280 tokens",
    "NGC_API_KEY: ${NGC_API_KEY}",
])
def test_what_is_no_secret_stays(line: str):
    assert redacted(line) == line


def test_a_private_key_over_lines_goes_whole():
    lines = ["before", "-----BEGIN RSA PRIVATE KEY-----", "MIIEow", "IBAAKC", "-----END RSA PRIVATE KEY-----", "after"]
    assert redacted_lines(lines) == ["before", "(not shown)", "after"]
    assert "MIIEow" not in "".join(redacted_lines(lines[:3]))


@pytest.fixture
def telling(tmp_path: Path) -> list[Path]:
    """A log, an env file and a compose file that hold every secret beside what makes findings."""
    log = tmp_path / "x.log"
    log.write_text("".join(f"{line} CUDA out of memory\n" for line in SECRETS), encoding="utf-8")
    env = tmp_path / "x.env"
    env.write_text("NGC_API_KEY=nvapi-Abc123Def456_ghi-789\nNIM_MODEL_PROFILE=/home/margarete/p\n"
                   "APP_VECTORSTORE_PASSWRD=p4ssw0rd!\n", encoding="utf-8")
    compose = tmp_path / "c.yaml"
    compose.write_text("services:\n  a:\n    image: nvcr.io/nim/nvidia/llama-nemotron-rerank-1b-v2:1.10.0\n"
                       "    environment: {NIM_SECRET_TOKN: sekrit-value-1, NIM_MODEL_PROFILE: /home/margarete/p}\n",
                       encoding="utf-8")
    return [log, env, compose]


def secrets_in(text: str) -> list[str]:
    return [secret for secret in SECRETS.values() if secret in text]


def test_no_form_of_a_report_tells(telling: list[Path], known: Catalog):
    found = examine(telling, known)
    assert len(found.findings) >= 3
    for text in (as_text(found, "en"), as_text(found, "de"), as_markdown(found, "en"), as_markdown(found, "de"),
                 json.dumps(as_json(found), ensure_ascii=False)):
        assert secrets_in(text) == []


def test_a_bundle_does_not_tell(telling: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "b.tar.gz"
    given = ["--set", f"state_dir={tmp_path / 'state'}"]
    assert main([*given, "doctor", "bundle", *map(str, telling), "--out", str(out)]) == 0
    with tarfile.open(out) as archive:
        texts = {m.name: archive.extractfile(m).read().decode() for m in archive.getmembers()}  # type: ignore[union-attr]
    assert {"ullage-doctor/report.md", "ullage-doctor/report.json", "ullage-doctor/machine.json",
            "ullage-doctor/files/01-x.log"} <= set(texts)
    assert texts["ullage-doctor/files/01-x.log"].count("CUDA out of memory") == len(SECRETS)
    assert secrets_in("".join(texts.values())) == []
    assert str(out) in capsys.readouterr().out
    assert main([*given, "doctor", "bundle", *map(str, telling), "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err

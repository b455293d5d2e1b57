"""Schemathesis over the OpenAPI documents: requests that fit the schema and requests that do not.

Every answer of a model service must have a documented code, type and body; no answer may be a 5xx. The RAG server and
the ingestor answer as the contract has it, which no schema says; there every 5xx must be one that the contract states.
`SCHEMATHESIS_CASES` is how many random requests a service gets at least; at 1,000 and more the fixed cases of the
coverage phase run too.
"""

import json
import math
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import requests
from servers import behind, serving

CASES = int(os.environ.get("SCHEMATHESIS_CASES", "200"))
PHASES = "coverage,fuzzing" if CASES >= 1000 else "fuzzing"
ANSWER_S = "600"
"""For one answer: the coverage phase ranks 10,000 documents in one request, on a machine that may be busy."""

COLLECTION = "c"
"""That of the hooks."""

SENDS = ("post", "patch", "delete", "put")
TIMEOUT_S = 600 + CASES
CHECKS_LEFT_OUT = "positive_data_acceptance"
"""A request that fits the schema may be refused still: for its length in tokens, or dimensions the model lacks."""


@pytest.mark.parametrize("service", ["ranking", "embedding"])
def test_every_answer_is_documented(service, tmp_path):
    with serving(service, tmp_path, REQUEST_TIMEOUT_S=ANSWER_S) as server:
        said = sent_at_random(server, tmp_path, "--exclude-checks", CHECKS_LEFT_OUT)
    enough(service, said)


@pytest.mark.parametrize("service", ["rag", "ingest"])
def test_every_5xx_is_stated(service, tmp_path):
    with behind(tmp_path) as settings:
        with serving("ingest", tmp_path, **settings) as server:
            fill(server.url)
        with serving(service, tmp_path, COLLECTION=COLLECTION, **settings) as server:
            said = sent_at_random(server, tmp_path, "--checks", "stated_5xx")
    enough(service, said)


def fill(url):
    """The one collection that requests find."""
    about = {"collection_name": COLLECTION}
    requests.post(f"{url}/v1/collection", json=about, timeout=60).raise_for_status()
    files = {"documents": ("siren.txt", b"The siren is tested every Thursday at noon.")}
    done = requests.post(f"{url}/v1/documents", files=files, data={"data": json.dumps({**about, "blocking": True})},
                         timeout=60)
    assert done.json()["documents_completed"] == 1, done.text


def enough(service, said):
    generated = re.search(r"([\d,]+) generated", said)
    assert generated, said
    assert int(generated[1].replace(",", "")) >= CASES
    print(f"{service}: {generated[1]} cases")


def sent_at_random(server, folder, *checks):
    """What `st` says of a run without a fault."""
    with urllib.request.urlopen(f"{server.url}/v1/openapi.json") as answer:
        paths = json.load(answer)["paths"].values()
    operations = sum(method in SENDS and "requestBody" in what for path in paths for method, what in path.items())
    command = [
        Path(sys.executable).with_name("st"), "run", f"{server.url}/v1/openapi.json", "--no-color",
        "--phases", PHASES, "--max-examples", str(math.ceil(CASES / operations)),
        *checks, "--continue-on-failure", "--request-timeout", ANSWER_S,
        "--suppress-health-check", "all", "--generation-database", "none",
    ]
    hooks = {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(Path(__file__).parent)}
    environment = {**os.environ, **hooks}
    ran = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=TIMEOUT_S)
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr
    return ran.stdout

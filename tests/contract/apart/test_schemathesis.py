"""Schemathesis over the OpenAPI documents: requests that fit the schema and requests that do not.

Every answer must have a documented code, type and body; no answer may be a 5xx. `SCHEMATHESIS_CASES` is how many random
requests a service gets at least; at 1,000 and more the fixed cases of the coverage phase run too.
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
from servers import serving

CASES = int(os.environ.get("SCHEMATHESIS_CASES", "200"))
PHASES = "coverage,fuzzing" if CASES >= 1000 else "fuzzing"
ANSWER_S = "600"
"""For one answer: the coverage phase ranks 10,000 documents in one request, on a machine that may be busy."""

TIMEOUT_S = 600 + CASES
CHECKS_LEFT_OUT = "positive_data_acceptance"
"""A request that fits the schema may be refused still: for its length in tokens, or dimensions the model lacks."""


@pytest.mark.parametrize("service", ["ranking", "embedding"])
def test_every_answer_is_documented(service, tmp_path):
    with serving(service, tmp_path, REQUEST_TIMEOUT_S=ANSWER_S) as server:
        said = sent_at_random(server, tmp_path)
    generated = re.search(r"([\d,]+) generated", said)
    assert generated, said
    assert int(generated[1].replace(",", "")) >= CASES
    print(f"{service}: {generated[1]} cases")


def sent_at_random(server, folder):
    """What `st` says of a run without a fault."""
    with urllib.request.urlopen(f"{server.url}/v1/openapi.json") as answer:
        operations = sum("post" in methods for methods in json.load(answer)["paths"].values())
    command = [
        Path(sys.executable).with_name("st"), "run", f"{server.url}/v1/openapi.json", "--no-color",
        "--phases", PHASES, "--max-examples", str(math.ceil(CASES / operations)),
        "--exclude-checks", CHECKS_LEFT_OUT, "--continue-on-failure", "--request-timeout", ANSWER_S,
        "--suppress-health-check", "all", "--generation-database", "none",
    ]
    hooks = {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(Path(__file__).parent)}
    environment = {**os.environ, **hooks}
    ran = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=TIMEOUT_S)
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr
    return ran.stdout

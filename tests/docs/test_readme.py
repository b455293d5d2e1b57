"""The code that the documents show runs as it is shown."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from processes import clean_environment
from stacks import stack_in

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(document: Path, language: str) -> list[str]:
    return [code for tag, code in BLOCK.findall(document.read_text(encoding="utf-8")) if tag == language]


def every(language: str):
    found = [(document, code) for document in DOCUMENTS for code in blocks(document, language)]
    return [pytest.param(code, id=f"{document.name}-{i}") for i, (document, code) in enumerate(found)]


@pytest.mark.parametrize("code", every("python"))
def test_python_blocks_run(code, model_cache):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          env=clean_environment(), check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("code", every("console"))
def test_console_blocks_run_in_order(code, model_cache, tmp_path):
    stack = stack_in(tmp_path)
    commands = [shlex.split(line.removeprefix("$ ")) for line in code.splitlines() if line.startswith("$ ")]
    assert commands
    try:
        for program, *arguments in commands:
            assert program == "ullage"
            stack.ullage(*(str(ROOT / part) if part.startswith("samples/") else part for part in arguments))
    finally:
        stack.ullage("down", check=False)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), target

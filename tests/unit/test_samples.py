"""The sample handbook is what its script makes, and every question's fact stands where it says."""

import subprocess
import sys
from pathlib import Path

SAMPLES = Path(__file__).parents[2] / "samples"


def test_every_fact_stands_where_its_question_says():
    done = subprocess.run([sys.executable, SAMPLES / "check_samples.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_script_makes_the_committed_pdfs_byte_for_byte(tmp_path):
    subprocess.run([sys.executable, SAMPLES / "make_samples.py", "--out", tmp_path], check=True, capture_output=True)
    made = sorted(tmp_path.rglob("*.pdf"))
    assert len(made) == 3
    for pdf in made:
        assert pdf.read_bytes() == (SAMPLES / "handbook" / pdf.name).read_bytes(), pdf.name

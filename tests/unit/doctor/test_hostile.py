"""Files that are cut, merged, wrongly encoded, endless or made to hurt: no crash, bounded time and memory."""

from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path

import pytest

from ullage.cli.main import main
from ullage.doctor import examine
from ullage.doctor.catalog import Catalog
from ullage.doctor.logs import MOST_HITS, scan
from ullage.doctor.report import as_json, as_markdown, as_text
from ullage.doctor.yaml_tree import YamlRefused, read_tree
from ullage.errors import InvalidRequest, UllageError

FIXTURES = Path(__file__).parents[2] / "doctor"
MUTANTS = 500
pytestmark = pytest.mark.timeout(120)
"""Alone the slowest takes some seconds: what hangs is caught, what a loaded machine delays is not."""


def originals() -> list[bytes]:
    folders = ("incident", "healthy", "signatures")
    return [path.read_bytes() for folder in folders for path in sorted((FIXTURES / folder).iterdir())]


def mutant(chance: random.Random, sources: list[bytes]) -> bytes:
    """A file cut, merged with another, wrongly encoded, with bytes changed, repeated or shuffled."""
    data = bytearray(chance.choice(sources))
    for _ in range(chance.randint(1, 3)):
        how = chance.randrange(8)
        if how == 0:
            data = data[:chance.randrange(len(data) + 1)]
        elif how == 1:
            other = chance.choice(sources)
            at = chance.randrange(len(data) + 1)
            data[at:at] = other[:chance.randrange(len(other) + 1)]
        elif how == 2:
            encoding = chance.choice(["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "utf-7"])
            data = bytearray(data.decode("utf-8", errors="replace").encode(encoding, errors="replace"))
        elif how == 3:
            for _ in range(chance.randint(1, 40)):
                if data:
                    data[chance.randrange(len(data))] = chance.randrange(256)
        elif how == 4:
            data = data * chance.randint(2, 6)
        elif how == 5:
            lines = data.split(b"\n")
            chance.shuffle(lines)
            data = bytearray(b"\n".join(lines))
        elif how == 6:
            data = data.replace(b"\n", chance.choice([b"", b"\r\n", b"\r", b"\n\n", b"\0"]))
        else:
            data = data.replace(b":", chance.choice([b": &a", b"::", b": *a ", b": [", b": {"]), chance.randint(1, 9))
    return bytes(data)


def test_five_hundred_mutants_neither_crash_nor_hang(known: Catalog, tmp_path: Path):
    chance = random.Random(8)
    sources = originals()
    for number in range(MUTANTS):
        path = tmp_path / chance.choice(["x.log", "x.yaml", "x.env", "x.md", "x"])
        path.write_bytes(mutant(chance, sources))
        found = examine([path], known)
        for text in (as_text(found, "de"), as_markdown(found, "en"), json.dumps(as_json(found))):
            assert "\x1b" not in text, f"mutant {number}"


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)) + "services: {s: *j}\n"


@pytest.mark.parametrize(("text", "said"), [
    (LAUGHS, "aliases come to more"),
    ("services: &a {b: *a}\n", "inside of its own anchor|undefined alias"),
    ("services: " + "[" * 5000 + "]" * 5000, "nested deeper"),
    ("services: " + "{a: " * 5000, "nested deeper|did not find|expected"),
    ("services:\n" + "".join(f"  s{n}: {{a: [{','.join('x' * 99)}]}}\n" for n in range(3000)), "nodes"),
])
def test_yaml_that_would_grow_is_refused_before_it_does(text: str, said: str, tmp_path: Path, known: Catalog):
    with pytest.raises(YamlRefused, match=said):
        read_tree(text)
    path = tmp_path / "compose.yaml"
    path.write_text(text, encoding="utf-8")
    found = examine([path], known)
    assert "yaml-broken" in [f.id for f in found.findings]


def test_a_python_tag_builds_nothing(tmp_path: Path, known: Catalog):
    path = tmp_path / "compose.yaml"
    path.write_text("services: {a: !!python/object/apply:os.system ['touch pwned']}\n", encoding="utf-8")
    examine([path], known)
    assert not Path("pwned").exists()


def test_merge_keys_that_multiply_are_refused(known: Catalog):
    text = "a0: &a0 {k0: v}\n" + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 8)}], k{n}: v}}\n" for n in range(1, 12))
    with pytest.raises(YamlRefused):
        read_tree(text)


def test_lines_made_for_backtracking_cost_linear_time(tmp_path: Path, known: Catalog):
    """What makes a backtracking matcher take minutes: long runs that nearly match the patterns."""
    path = tmp_path / "x.log"
    near = ["no such host" [:-1], "profile 3" + " " * 79, "etcd" + "context deadline exceede" * 400, "a" * 100_000,
            "NIM_" + "A" * 200_000, "$" + "{A" * 50_000, "://" + "a" * 100_000, "password=" * 20_000]
    path.write_text("\n".join(near * 6), encoding="utf-8")
    assert as_text(examine([path], known), "en")


def test_an_env_file_made_to_hurt_costs_little(tmp_path: Path, known: Catalog):
    path = tmp_path / "x.env"
    path.write_text("".join(f"NIM_X{n}={'${A:-' * 500}\n" for n in range(300)), encoding="utf-8")
    compose = tmp_path / "c.yaml"
    compose.write_text("services: {a: {image: '" + "${A:-" * 2000 + "', environment: {B: '" + "$A${NIM_X1}" * 900
                       + "'}}}\n", encoding="utf-8")
    assert "NIM_X1" in [f.subject for f in examine([path, compose], known).findings]


def test_a_log_of_200_mb_is_read_in_one_pass_of_bounded_memory(tmp_path: Path, known: Catalog):
    """With the cause in the middle of it, an error on every line of its last quarter, and a line of 3 MB."""
    path = tmp_path / "large.log"
    block = b"I0110 09:00:26.100 144 http_server.cc:4497] POST /v1/ranking 200 took 41 ms\n" * 13_500
    bad = b"E0110 RuntimeError: CUDA out of memory. Tried to allocate 1.02 GiB\n" * 15_500
    with path.open("wb") as stream:
        for _ in range(75):
            stream.write(block)
        stream.write(b"E1130 Can not set the specified optimization profile 3[3]. Expected index range 0-6\n")
        stream.write(b"x" * (3 << 20) + b"\n")
        for _ in range(75):
            stream.write(block)
        for _ in range(50):
            stream.write(bad)
    assert path.stat().st_size > 200_000_000
    tracemalloc.start()
    try:
        found = examine([path], known)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        # Temporary folders of several runs are kept, and this is large.
        path.unlink()
    assert found.findings[0].id == "trt-profile-oom"
    assert found.findings[0].evidence[0].line == 75 * 13_500 + 1
    assert peak < 32 << 20


def test_what_was_seen_often_enough_is_looked_for_no_longer(tmp_path: Path, known: Catalog):
    path = tmp_path / "x.log"
    path.write_text("CUDA out of memory\n" * 5000 + "Bus error\n", encoding="utf-8")
    found = scan(path, "x.log", known.signatures)
    assert found.hits["cuda out of memory"].count == MOST_HITS
    assert found.hits["bus error"].first[0].line == 5001


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_a_log_is_read_in_any_encoding(encoding: str, tmp_path: Path, known: Catalog):
    path = tmp_path / "x.log"
    text = "10:00 größer\r\n10:01 OSError: [Errno 28] No space left on device\r\n" * 20
    path.write_bytes(text.encode(encoding))
    [first] = examine([path], known).findings
    assert first.id == "no-space"
    assert first.evidence[0].line == 2


def test_what_is_no_file_is_refused_in_one_line(tmp_path: Path, known: Catalog, capsys: pytest.CaptureFixture[str]):
    for path in (tmp_path, tmp_path / "away", Path("/dev/zero"), tmp_path / ("n" * 300)):
        with pytest.raises(InvalidRequest) as caught:
            examine([path], known)
        assert "\n" not in caught.value.message
    assert main(["doctor", str(tmp_path / "away")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_empty_and_binary_files_are_notes(tmp_path: Path, known: Catalog):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 50)
    found = examine([tmp_path / "empty", tmp_path / "binary"], known).findings
    assert {f.id for f in found} == {"file-empty", "file-binary"}
    assert {f.severity for f in found} == {"info"}


def test_files_are_only_read(tmp_path: Path, known: Catalog):
    path = tmp_path / "x.log"
    path.write_text("CUDA out of memory\n", encoding="utf-8")
    path.chmod(0o400)
    before = path.stat()
    try:
        examine([path], known)
    except UllageError:
        pytest.fail("a file that may only be read must be enough")
    after = path.stat()
    assert (before.st_mtime_ns, before.st_size, before.st_ino) == (after.st_mtime_ns, after.st_size, after.st_ino)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.log"]

from pathlib import Path

import numpy as np
import pytest

from ullage.stack.lite_server import drop_broken_indexes, main


def index(folder: Path, name: str, rows: int = 40) -> Path:
    path = folder / "collections" / "c" / "partitions" / "_default" / "indexes" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.save(file, np.ones((rows, 16), np.float32), allow_pickle=False)
    return path


@pytest.mark.parametrize("left", [0, 5, 100, 128, 2048, 2687])
def test_an_index_that_was_cut_off_is_removed(tmp_path: Path, left: int) -> None:
    whole, cut = index(tmp_path, "data_1.dense.flat.idx"), index(tmp_path, "data_2.dense.flat.idx")
    other = index(tmp_path, "data_3.dense.hnsw.idx")
    for path in (cut, other):
        path.write_bytes(path.read_bytes()[:left])
    assert drop_broken_indexes(tmp_path) == [cut]
    assert whole.exists()
    assert other.exists()
    assert not cut.exists()


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert drop_broken_indexes(tmp_path / "vectors") == []


def test_it_becomes_the_server_and_says_what_it_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda _, arguments: became.append(arguments[1:]))
    cut = index(tmp_path, "data_2.dense.flat.idx")
    cut.write_bytes(b"")
    main(["--data-dir", str(tmp_path), "--port", "1"])
    assert became == [["-m", "milvus_lite", "server", "--data-dir", str(tmp_path), "--port", "1"]]
    assert f"{cut} was cut off by a kill" in capfd.readouterr().err

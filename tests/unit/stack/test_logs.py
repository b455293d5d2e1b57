from ullage.stack.logs import bound_log, last_words


def test_a_long_log_is_moved_aside_and_goes_on(tmp_path):
    path = tmp_path / "rag.log"
    with path.open("ab") as writer:
        writer.write(b"x" * 100)
        writer.flush()
        bound_log(path, 100)
        assert path.stat().st_size == 100
        writer.write(b"y")
        writer.flush()
        bound_log(path, 100)
        assert path.stat().st_size == 0
        writer.write(b"after")
    assert path.read_bytes() == b"after"
    assert (tmp_path / "rag.log.1").read_bytes() == b"x" * 100 + b"y"


def test_a_log_that_was_deleted_harms_nobody(tmp_path):
    bound_log(tmp_path / "gone.log")
    assert last_words(tmp_path / "gone.log") == "its log is gone"


def test_last_words_are_the_error_if_there_is_one(tmp_path):
    path = tmp_path / "rag.log"
    path.write_bytes(b"")
    assert last_words(path) == "it said nothing"
    path.write_bytes(b"one\ntwo\n\n")
    assert last_words(path) == "two"
    path.write_bytes(b"x" * 20_000 + b"\nerror: no weights\nstopped \xff\n")
    assert last_words(path) == "no weights"


def test_on_a_full_disk_a_long_log_is_emptied_all_the_same(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ullage.stack.logs.shutil.copyfile", full)
    log = tmp_path / "rag.log"
    log.write_bytes(b"x" * 2000)
    bound_log(log, 1000)
    assert log.read_bytes() == b""
    assert not (tmp_path / "rag.log.1").exists()

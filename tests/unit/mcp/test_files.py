"""Which files may be sent: paths come from callers."""

import pytest

from ullage.errors import InvalidRequest
from ullage.mcp.files import Files


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "inside"
    (inside / "deeper").mkdir(parents=True)
    (inside / "a.txt").write_text("a", encoding="utf-8")
    (inside / "deeper" / "b.txt").write_text("b", encoding="utf-8")
    (tmp_path / "outside.txt").write_text("c", encoding="utf-8")
    (inside / "link.txt").symlink_to(tmp_path / "outside.txt")
    return inside


def test_relative_and_absolute_paths_below_the_folder_are_taken(folder):
    found = Files(folder).chosen(["a.txt", "deeper/../deeper/b.txt", str(folder / "a.txt")])
    assert [path.name for path in found] == ["a.txt", "b.txt", "a.txt"]


@pytest.mark.parametrize("path", ["../outside.txt", "link.txt", "/etc/hostname", "/no/such/file"])
def test_whatever_leads_out_of_the_folder_is_refused_alike(folder, path):
    """A link too; and nobody is told what there is outside."""
    with pytest.raises(InvalidRequest, match="is not below mcp_files="):
        Files(folder, anywhere=True).chosen([path])


def test_every_fault_is_named_and_then_nothing_is_sent(folder):
    with pytest.raises(InvalidRequest, match=r"none.txt is not a file .*; \.\./outside.txt is not below .*nothing was"):
        Files(folder).chosen(["a.txt", "none.txt", "../outside.txt"])


def test_a_path_that_is_none_is_told(folder):
    with pytest.raises(InvalidRequest, match="is no path"):
        Files(folder).chosen(["a\0b"])


def test_without_a_folder_stdio_may_send_any_file_and_http_none(folder):
    assert Files(anywhere=True).chosen([str(folder / "a.txt")]) == [folder / "a.txt"]
    with pytest.raises(InvalidRequest, match="mcp_files, which is not set"):
        Files().chosen([str(folder / "a.txt")])

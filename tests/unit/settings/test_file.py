import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ullage.errors import SettingsError
from ullage.settings.file import read_file


def written(folder, text):
    file = folder / "ullage.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("memory: [\n", "line 2"),
        ("a: b: c", "line 1"),
        ("- memory", "holds a list"),
        ("memory", "holds a str"),
        ("memory: 1GiB\nmemory: 2GiB", "line 2: memory is given twice"),
        ("collection: \x07", "special characters are not allowed"),
        ("collection: 2001-99-99", "month must be in 1..12"),
        ("? [memory]\n: 1GiB", "unhashable"),
        ("memory: !!python/name:os.system x", "could not determine a constructor"),
        ("memory: " + "9" * 5000, "integer string conversion"),
        ("[" * 5000, "recursion"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(tmp_path, text, said):
    file = written(tmp_path, text)
    with pytest.raises(SettingsError) as refused:
        read_file(file)
    assert refused.value.message.startswith(f"settings file {file}")
    assert said in refused.value.message
    assert len(refused.value.message.splitlines()) == 1


def test_an_empty_file_says_nothing(tmp_path):
    assert read_file(written(tmp_path, "# nothing yet\n")) == {}


@hypothesis_settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("abm:-[]{}?!&*<|>'\"%@`# \n\t01.9~="), max_size=40))
def test_any_text_is_read_or_refused_in_one_line(tmp_path_factory, text):
    file = written(tmp_path_factory.getbasetemp(), text)
    try:
        assert isinstance(read_file(file), dict)
    except SettingsError as refused:
        assert len(refused.message.splitlines()) == 1

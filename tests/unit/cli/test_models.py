from ullage.models.card import catalog


def test_every_card_and_whether_its_files_are_here(ullage, model_cache, tmp_path):
    for command in (["models"], ["models", "list"]):
        found = ullage(*command, "--json").json
        assert [(row["name"], row["files"]) for row in found] == [(card.name, "here") for card in catalog()]
        assert all(row["file_bytes"] > 0 and row["revision"] for row in found)
    llm = ullage("--set", f"cache_dir={tmp_path}", "--set", "llm_model=x", "models", "--json").json
    assert [row["files"] for row in llm if row["role"] == "llm"] == ["missing"]


def test_people_see_a_line_a_card(ullage, model_cache):
    shown = ullage("models").out.splitlines()
    assert [line.split()[0] for line in shown[1:]] == [card.name for card in catalog()]


def test_a_damaged_file_is_told(ullage, tmp_path):
    card = catalog()[0]
    file = card.file("weights")
    path = tmp_path / "models" / file.sha256 / file.source.path.rsplit("/", 1)[-1]
    path.parent.mkdir(parents=True)
    path.write_bytes(b"short")
    [row] = [r for r in ullage("--set", f"cache_dir={tmp_path}", "models", "--json").json if r["name"] == card.name]
    assert "has 5 bytes, the card says" in row["files"]


def test_pulling_what_is_here_fetches_nothing(ullage, model_cache):
    ran = ullage("models", "pull", "all-MiniLM-L6-v2")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "sentence-transformers/all-MiniLM-L6-v2: 22 MiB verified\n"


def test_pull_wants_one_name_or_all(ullage):
    assert "name one model, or give --all" in ullage("models", "pull").refusal
    assert ullage("models", "pull", "x", "--all").code == 2
    ran = ullage("models", "pull", "bigger")
    assert ran.code == 4
    assert "no model is called 'bigger': known are" in ran.refusal

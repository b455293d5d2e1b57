import pytest

from checkpoints import make_checkpoint
from ullage.models.card import catalog, find_card, known_cards


def test_every_card_and_whether_its_files_are_here(ullage, model_cache, tmp_path):
    bundled = {card.name for card in catalog()}
    for command in (["models"], ["models", "list"]):
        found = ullage(*command, "--json").json
        assert [(row["name"], row["role"]) for row in found] == [(card.name, card.role) for card in known_cards()]
        assert {row["name"] for row in found if row["files"] == "here"} >= bundled
        known = [row for row in found if row["revision"] and row["licence"]]
        assert known == found
        assert all(row["file_bytes"] > 0 or not row["servable"] for row in found)
        assert all(row["servable"] == (not row["not_servable"]) for row in found)
    here = ullage("--set", f"cache_dir={tmp_path}", "--set", "llm_model=x", "models", "--json").json
    states = {row["name"]: row["files"] for row in here}
    assert states["HuggingFaceTB/SmolLM2-135M-Instruct"] == "missing"
    assert states["BAAI/bge-reranker-base"] == "missing"
    assert states["nvidia/nv-embedqa-e5-v5"] == "on no public hub"
    assert states["nvidia/llama-nemotron-rerank-vl-1b-v2"] == "cannot be served"
    rows = {row["name"]: row for row in here}
    assert "nvidia/llama-3.2-nv-rerankqa-1b-v2" in rows["nvidia/llama-nemotron-rerank-1b-v2"]["aliases"]
    assert rows["nvidia/llama-nemotron-rerank-1b-v2"]["file_bytes"] == 2_471_632_896


def test_people_see_a_line_a_card_and_why_one_is_not_served(ullage, model_cache):
    shown = ullage("models").out.splitlines()
    assert [line.split()[0] for line in shown[1:]] == [card.name for card in known_cards()]
    [line] = [line for line in shown if "rerank-vl" in line]
    assert line.rstrip().endswith("cannot be served: it ranks page images and no engine here reads images yet")


def test_a_damaged_file_is_told(ullage, tmp_path):
    card = catalog()[0]
    file = card.file("weights")
    path = tmp_path / "models" / file.sha256 / file.source.path.rsplit("/", 1)[-1]
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * file.size)
    tokenizer = card.file("tokenizer")
    other = tmp_path / "models" / tokenizer.sha256 / tokenizer.source.path.rsplit("/", 1)[-1]
    other.parent.mkdir(parents=True)
    other.write_bytes(b"x" * tokenizer.size)
    [row] = [r for r in ullage("--set", f"cache_dir={tmp_path}", "models", "--json").json if r["name"] == card.name]
    assert "has SHA-256" in row["files"]
    ran = ullage("--set", f"cache_dir={tmp_path}", "models", "verify", card.name)
    assert ran.code == 4
    assert "the card says" in ran.refusal


def test_a_card_in_full(ullage, tmp_path):
    ran = ullage("--set", f"cache_dir={tmp_path}", "models", "show", "nvidia/llama-3.2-nv-rerankqa-1b-v2")
    assert (ran.code, ran.err) == (0, "")
    fields = dict(line.split(maxsplit=1) for line in ran.out.splitlines()[1:] if len(line.split(maxsplit=1)) == 2)
    assert fields["name"].strip() == "nvidia/llama-nemotron-rerank-1b-v2"
    assert fields["parameters"].strip() == "1,235,816,448"
    assert fields["weights_bytes"].strip() == "2,471,632,896"
    assert fields["template"].strip() == r"question:{query} \n \n passage:{passage}"
    assert fields["shape"].startswith("hidden 2048, layers 16, heads 32, kv_heads 8")
    assert fields["state"].strip() == "missing"
    found = ullage("models", "show", "8b-q4_k_m", "--json").json
    assert (found["parameters"], found["precision"]) == (8_000_000_000, "q4_k_m")
    assert found["parameters"] == sum(found[f"parameters_of_{part}"] for part in ("tables", "layers", "head"))


def test_a_folder_in_full(ullage, tmp_path):
    folder = make_checkpoint(tmp_path / "mine", labels=1)
    found = ullage("models", "show", folder, "--json").json
    assert (found["name"], found["role"], found["state"]) == ("mine", "ranking", "here")
    assert found["weights_bytes"] == (folder / "model.safetensors").stat().st_size
    (folder / "model.safetensors").write_bytes(b"")
    ran = ullage("models", "show", folder)
    assert "is not a whole safetensors file" in ran.refusal


def test_pulling_what_is_here_fetches_nothing(ullage, model_cache):
    ran = ullage("models", "pull", "all-MiniLM-L6-v2")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "sentence-transformers/all-MiniLM-L6-v2: 22 MiB verified\n"


@pytest.mark.parametrize(("name", "code", "said"), [
    ("bigger", 4, "no model is called 'bigger': known are"),
    ("nvidia/llama-nemotron-rerank-vl-1b-v2", 4, "cannot be served: it ranks page images"),
    ("nv-embedqa-e5-v5", 4, "is on no public hub: get its checkpoint from its publisher"),
    ("all-MiniLM-L6-v2@v2", 4, "comes from no hub repository: it has no revision 'v2'"),
    ("BAAI/bge-reranker-base", 4, "cannot fetch BAAI/bge-reranker-base@main from http://127.0.0.1:1"),
    ("bge-reranker-base@v9", 4, "cannot fetch BAAI/bge-reranker-base@v9 from http://127.0.0.1:1"),
])
def test_what_cannot_be_pulled(ullage, tmp_path, monkeypatch, name, code, said):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    ran = ullage("--set", f"cache_dir={tmp_path}", "models", "pull", name)
    assert ran.code == code
    assert said in ran.refusal


def test_pull_wants_one_name_or_all(ullage):
    assert "name one model, or give --all" in ullage("models", "pull").refusal
    assert ullage("models", "pull", "x", "--all").code == 2


def test_verifying(ullage, model_cache, tmp_path):
    ran = ullage("models", "verify")
    assert ran.code == 0
    assert {f"{card.name}: every byte as recorded" for card in catalog()} <= set(ran.out.splitlines())
    empty = ullage("--set", f"cache_dir={tmp_path}", "models", "verify", "BAAI/bge-m3")
    assert "run `ullage models pull BAAI/bge-m3`" in empty.refusal
    assert "cannot be served" in ullage("models", "verify", "meta/llama-3.1-8b-instruct").refusal


def test_removing(ullage, model_cache, tmp_path):
    card = find_card("smollm2-135m-instruct", "llm")
    file = card.file("weights")
    path = tmp_path / "models" / file.sha256 / "SmolLM2-135M-Instruct.Q4_1.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * (3 << 20))
    ran = ullage("--set", f"cache_dir={tmp_path}", "models", "remove", card.name)
    assert ran.out == "HuggingFaceTB/SmolLM2-135M-Instruct: 3.0 MiB deleted\n"
    assert not path.parent.exists()
    ran = ullage("--set", f"cache_dir={tmp_path}", "models", "remove", card.name)
    assert "nothing that is only HuggingFaceTB/SmolLM2-135M-Instruct's is in" in ran.refusal

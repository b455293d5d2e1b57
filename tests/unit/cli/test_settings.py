from ullage.settings import Settings


def test_every_setting_its_value_and_its_origin(ullage, tmp_path, monkeypatch):
    file = tmp_path / "ullage.yaml"
    file.write_text("rag_port: 1\nllm_port: 2\nmemory: 700MiB\n")
    monkeypatch.setenv("APP_RETRIEVER_TOPK", "4")
    ran = ullage("--config", file, "--set", "llm_port=3", "settings", "--json")
    found = {row["name"]: (row["value"], row["origin"]) for row in ran.json}
    assert set(found) == set(Settings.model_fields)
    assert found["rag_port"] == (1, f"file {file}")
    assert found["llm_port"] == (3, "flag")
    assert found["memory"] == (700 << 20, f"file {file}")
    assert found["rerank_top_k"] == (4, "env APP_RETRIEVER_TOPK")
    assert found["ingest_port"] == (8082, "default")
    assert found["threads"] == (None, "default")


def test_people_see_a_line_a_setting(ullage):
    shown = ullage("settings").out.splitlines()
    assert [line.split()[0] for line in shown] == ["name", *Settings.model_fields]


def test_broken_settings_are_refused_by_every_command_that_reads_them(ullage, tmp_path):
    file = tmp_path / "ullage.yaml"
    file.write_text("memori: 1GiB\n")
    for command in (["settings"], ["plan"], ["up"], ["down"], ["status"], ["models"], ["serve", "rag"], ["ask", "x"]):
        ran = ullage("--config", file, *command)
        assert ran.code == 2
        assert "did you mean memory?" in ran.refusal

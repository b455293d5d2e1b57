"""Names, values, limits, windows, keys, releases, ports and GPUs of compose files, env files and Helm values."""

from __future__ import annotations

from pathlib import Path

import pytest

from ullage.devices import find_machine
from ullage.doctor import Finding, examine
from ullage.doctor.catalog import Catalog
from ullage.doctor.kinds import read
from ullage.doctor.settings_files import compose_services, env_settings, span_s
from ullage.doctor.vendor import image, nearest, real_names
from ullage.doctor.yaml_tree import read_tree

RERANK = "nvcr.io/nim/nvidia/llama-nemotron-rerank-1b-v2"
GPU = "deploy: {resources: {reservations: {devices: [{driver: nvidia, device_ids: ['0'], capabilities: [gpu]}]}}}"


class Look:
    """Write files and look at them."""

    def __init__(self, folder: Path, known: Catalog) -> None:
        self.folder, self.known = folder, known

    def __call__(self, text: str, name: str = "compose.yaml", machine: str | None = None, **more: str) -> list[Finding]:
        files = {name: text, **{key.replace("_", "."): value for key, value in more.items()}}
        paths = []
        for file, content in files.items():
            (self.folder / file).write_text(content, encoding="utf-8")
            paths.append(self.folder / file)
        return list(examine(paths, self.known, find_machine(machine) if machine else None).findings)

    def service(self, environment: str, picture: str = f"{RERANK}:1.10.0", more: str = "") -> list[Finding]:
        return self(f"services:\n  one:\n    image: {picture}\n    environment: {{NGC_API_KEY: k, {environment}}}\n"
                    + "".join(f"    {line}\n" for line in more.splitlines()))


@pytest.fixture
def look(tmp_path: Path, known: Catalog) -> Look:
    return Look(tmp_path, known)


def ids(found: list[Finding], least: str = "warning") -> list[str]:
    return [f.id for f in found if f.severity != "info" or least == "info"]


@pytest.mark.parametrize(("name", "text", "kind"), [
    ("x", "services:\n  a: {image: b}\n", "compose"),
    ("values", "image: {repository: a, tag: b}\nenv: []\n", "helm"),
    ("x", "A=1\nexport B=2\n# c\nC='3'\n", "env"),
    ("x.log", "12:00 services: started\n12:01 A=1\n", "log"),
    ("x.txt", "# Report\n\nAll is well.\n", "report"),
    ("x", "2026-01-01 10:00:00 image: pulled\n" * 5, "log"),
    ("x.yaml", "services: {a: {image: [}", "compose"),
    ("deployment.yaml", "apiVersion: apps/v1\nkind: Deployment\n", "helm"),
])
def test_the_kind_is_found_out_from_what_stands_in_a_file(name: str, text: str, kind: str, tmp_path: Path):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read(tmp_path / name).kind == kind


@pytest.mark.parametrize(("wrong", "right"), [
    ("NIM_TRITON_MAX_BATCHSIZE", "NIM_TRITON_MAX_BATCH_SIZE"), ("NIM_CACHE_PAHT", "NIM_CACHE_PATH"),
    ("NIM_MODEL_PROFIL", "NIM_MODEL_PROFILE"), ("APP_RANKING_SERVER_URL", "APP_RANKING_SERVERURL"),
    ("APP_VECTORSTORE_NAMES", "APP_VECTORSTORE_NAME"), ("NIM_HTTP_PORT_API", "NIM_HTTP_API_PORT"),
    ("APP_EMBEDDING_MODELNAME", "APP_EMBEDDINGS_MODELNAME"), ("NIM_KV_CACHE_PERCENT", "NIM_KVCACHE_PERCENT"),
])
def test_a_misspelt_name_gets_the_nearest_real_one(wrong: str, right: str, look: Look):
    assert nearest(wrong) == right
    [found] = [f for f in look(f"{wrong}=1\nB=2\n", "x.env") if f.id == "misspelt-name"]
    assert f"did you mean {right}?" in found.title.en
    assert "1.x" in found.cause.en or "2.x" in found.cause.en or "LLM NIM" in found.cause.en
    assert found.evidence[0].line == 1


def test_a_name_that_is_like_no_other_is_told_too(look: Look):
    assert ids(look("NIM_ZZQXJ=1\nB=2\n", "x.env")) == ["name-nowhere"]
    llm = "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.6"
    assert ids(look.service("NIM_ZZQXJ: 1, NIM_MAX_MODEL_LENGTHS: 1", llm)) == []
    assert set(ids(look.service("NIM_ZZQXJ: 1, NIM_MODEL_PROFILS: 1"))) == {"name-nowhere", "misspelt-name"}


def test_no_real_name_is_called_misspelt(look: Look):
    text = "".join(f"{name}=\n" for name in sorted(real_names()))
    assert ids(look(text, "x.env")) == []


@pytest.mark.parametrize(("setting", "tag", "id_"), [
    ("NIM_MAX_MODEL_LEN: 8192", "1.10.0", "foreign-name"),
    ("NIM_ENGINE_COUNT: 2", "1.10.0", "foreign-name"),
    ("NIM_NUM_MODEL_INSTANCES: 2", "2.0.0", "foreign-name"),
    ("NIM_TRITON_MAX_BATCH_SIZE: 8", "1.3.1", "name-too-new"),
    ("NIM_REPOSITORY_OVERRIDE: x", "1.6.0", "name-too-new"),
    ("NIM_MODEL_PROFILE: abc", "2.3.0", "profile-without-effect"),
    ("NIM_DISABLE_TRT: 1", "1.8.0", "unknown-name"),
])
def test_a_name_of_another_product_or_generation_is_told(setting: str, tag: str, id_: str, look: Look):
    assert id_ in ids(look.service(setting, f"{RERANK}:{tag}"))


@pytest.mark.parametrize(("setting", "picture"), [
    ("NIM_MAX_BATCH_SIZE: 1, NIM_MAX_MODEL_LEN: 4096", "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.6"),
    ("NIM_MODEL_PROFILE: vllm-bf16-tp1-pp1", "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.6"),
    ("NIM_HTTP_API_PORT: 8000", f"{RERANK}:2.3.0"),
    ("NIM_TRITON_MAX_BATCH_SIZE: 30", f"{RERANK}:1.8.0"),
    ("NIM_PIPELINE_MAX_BATCH_SIZE: 30", f"{RERANK}:2.0.0"),
])
def test_a_name_where_it_belongs_is_not(setting: str, picture: str, look: Look):
    assert ids(look.service(setting, picture)) == []


@pytest.mark.parametrize("setting", [
    "NIM_TRITON_MAX_BATCH_SIZE: 64",
    "NIM_TRITON_DATA_MAX_BATCH_SIZE: 32, NIM_TRITON_MAX_BATCH_SIZE: 8",
    "NIM_MODEL_PROFILE: f7391ddbcb95b2406853526b8e489fedf20083a2420563ca3e65358ff417b10f, "
    "NIM_TRITON_MAX_SEQ_LENGTH: 8192",
    "NVIDIA_VISIBLE_DEVICES: 2, CUDA_VISIBLE_DEVICES: 3",
])
def test_limits_of_a_service_that_contradict_are_told(setting: str, look: Look):
    assert "limits-contradict" in ids(look.service(setting))


@pytest.mark.parametrize("text", [
    "APP_RETRIEVER_TOPK=20\nVECTOR_DB_TOPK=10\n", "APP_RETRIEVER_TOPK=26\n", "VECTOR_DB_TOPK=401\n",
    "VECTOR_DB_TOPK=200\nAPP_VECTORSTORE_EF=100\n", "APP_NVINGEST_CHUNKSIZE=150\nAPP_NVINGEST_CHUNKOVERLAP=150\n",
    "APP_VECTORSTORE_NAME=milvus\nAPP_VECTORSTORE_URL=http://elasticsearch:9200\n",
    "NIM_MODEL_PROFILE=e28f17c9c13a99055d065f88d725bf93c23b3aab14acd68f16323de1353fc528\nNIM_TRITON_MAX_BATCH_SIZE=30\n",
])
def test_limits_of_an_env_file_that_contradict_are_told(text: str, look: Look):
    found = look(text, "x.env")
    assert "limits-contradict" in ids(found)
    assert all("{" not in f.cause.en + f.remedy.en + f.title.de for f in found)


@pytest.mark.parametrize("text", ["APP_RETRIEVER_TOPK=10\nVECTOR_DB_TOPK=10\n", "VECTOR_DB_TOPK=none\n",
                                  "APP_NVINGEST_CHUNKSIZE=512\nAPP_NVINGEST_CHUNKOVERLAP=150\n"])
def test_limits_that_agree_are_not(text: str, look: Look):
    assert ids(look(text, "x.env")) == []


@pytest.mark.parametrize(("check", "short"), [
    ("{test: x, interval: 10s, retries: 3}", True), ("{test: x, interval: 10s, retries: 100}", False),
    ("{test: x, start_period: 10m}", False), ("{test: x, interval: 1m30s, retries: 2}", True),
    ("{test: x}", True), ("{disable: true}", False),
])
def test_a_health_window_is_held_against_the_start(check: str, short: bool, look: Look):
    found = ids(look.service("A: b", more=f"healthcheck: {check}"))
    assert ("health-window-short" in found) is short


def test_spans_are_read_as_compose_does():
    assert [span_s(text) for text in ("1m30s", "10s", "2h", "500ms", "7", "")] == [90, 10, 7200, 0.5, 7, 0]


def test_a_missing_key_and_a_variable_that_nobody_sets(look: Look):
    text = f"services:\n  one:\n    image: {RERANK}:1.10.0\n    environment:\n      A: ${{NEVER_SET}}\n"
    assert ids(look(text)) == ["key-missing"]
    found = look(text, x_env="B=1\nC=2\n")
    assert set(ids(found)) == {"key-missing", "variable-unset"}
    [unset] = [f for f in found if f.id == "variable-unset"]
    assert "${NEVER_SET:-VALUE}" in unset.remedy.en
    assert "variable-unset" not in ids(look(text, x_env="NEVER_SET=1\nC=2\n"))


def test_a_placeholder_is_no_key(look: Look):
    assert ids(look("NGC_API_KEY=<your key>\nA=1\n", "x.env")) == ["key-placeholder"]


def test_releases_with_known_faults_and_without_a_tag(look: Look):
    assert "image-fault" in ids(look.service("A: b", f"{RERANK}:1.5.0"), "info")
    assert "image-fault" not in ids(look.service("A: b", f"{RERANK}:1.10.0"), "info")
    assert "image-unpinned" in ids(look.service("A: b", RERANK), "info")
    values = f"image: {{repository: {RERANK}, tag: 1.8.0}}\nauthSecret: x\n"
    assert any("Helm" in f.cause.en for f in look(values, "values.yaml"))


@pytest.mark.parametrize(("text", "family", "version", "generation"), [
    ("nvcr.io/nim/nvidia/llama-3.2-nv-rerankqa-1b-v2:1.8.0", "rerank", (1, 8, 0), "1.x"),
    ("registry:5000/nim/llama-nemotron-rerank-vl-1b-v2:2.3", "rerank", (2, 3), "2.x"),
    ("nvcr.io/nim/nvidia/llama-nemotron-embed-1b-v2@sha256:abc", "embed", (), ""),
    ("nvcr.io/nim/meta/llama-3.1-8b-instruct:latest", "llm", (), ""),
    ("milvusdb/milvus:v2.6.5-gpu", "milvus", (2, 6, 5), ""),
    ("something/else", "", (), ""),
])
def test_an_image_is_taken_apart(text: str, family: str, version: tuple[int, ...], generation: str):
    its = image(text)
    assert (its.family, its.version, its.generation) == (family, version, generation)


TWO = f"""services:
  a: {{image: '{RERANK}:1.10.0', environment: {{NGC_API_KEY: k}}, {GPU}}}
  b: {{image: 'nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.6', environment: {{NGC_API_KEY: k}}, {GPU}}}
"""


def test_a_gpu_is_summed_up_against_the_machine_that_is_named(look: Look):
    found = look(TWO, machine="l4-24gb")
    [sums] = [f for f in found if f.id == "gpu-overcommitted"]
    assert sums.severity == "error"
    assert "NVIDIA L4" in sums.title.en
    share = 0.9 * find_machine("l4-24gb").gpus[0].total_bytes / (1 << 30)
    assert f"b {share:.1f} GiB" in sums.cause.en
    assert {f.id for f in look(TWO)} >= {"gpu-shared"}


def test_a_share_that_is_bounded_counts_as_bounded(look: Look):
    bounded = TWO.replace("1.8.6', environment: {NGC_API_KEY: k}", "1.8.6', environment: {NGC_API_KEY: k, "
                          "NIM_KVCACHE_PERCENT: '0.3'}")
    found = look(bounded, machine="a100dx-80c-held")
    assert "gpu-overcommitted" not in [f.id for f in found]
    [sums] = [f for f in found if f.id == "gpu-shared"]
    assert "b 24.0 GiB" in sums.cause.en


def test_the_same_port_twice_and_services_that_are_waited_for(look: Look):
    text = f"""services:
  a: {{image: x, ports: ["8000:80"], depends_on: [gone]}}
  b: {{image: '{RERANK}:1.10.0', environment: {{NGC_API_KEY: k}}, ports: ["127.0.0.1:8000:81"]}}
  c: {{image: y, depends_on: {{b: {{condition: service_healthy}}}}, ports: [{{published: "9000", target: 1}}]}}
"""
    assert set(ids(look(text))) == {"port-taken-twice", "needs-unknown-service", "health-check-missing"}


def test_a_setting_that_nothing_reads_counts_when_it_asks_for_something(look: Look):
    name = "APP_NVINGEST_IMAGE_ELEMENTS_MODALITY"
    assert ids(look(f"{name}=image\nA=1\n", "x.env")) == ["name-never-read"]
    assert ids(look(f"{name}=\nA=1\n", "x.env")) == []


def test_files_given_together_are_one_stack(look: Look):
    found = look(TWO, nims_a100_yaml="services:\n  a: {environment: {NIM_DISABLE_TRT: 1}}\n")
    [unknown] = [f for f in found if f.id == "unknown-name"]
    assert unknown.evidence[0].source == "nims.a100.yaml"


def test_broken_yaml_is_named_by_its_line_and_still_read_as_text(look: Look):
    found = look("services:\n  a:\n    environment:\n      NIM_DISABLE_TRT: 1\n   b: [\n")
    assert {"yaml-broken", "unknown-name"} <= set(ids(found))
    [broken] = [f for f in found if f.id == "yaml-broken"]
    assert broken.evidence[0].line > 0


def test_env_files_are_read_as_shells_do():
    text = "A=1 # no\nexport B='x # y'\nC=\"q\"\n#D=1\nE = 2\nnonsense\nF=\n"
    assert {s.name: s.value for s in env_settings(text, "e")} == {
        "A": "1", "B": "x # y", "C": "q", "E": "2", "F": ""}


def test_variables_are_put_in_as_compose_does():
    text = ("services: {s: {image: 'x:${TAG:-1}', environment: {A: '${X-d}', B: '${E:-d}', C: '${E-d}', D: '$X/$$X', "
            "F: '${OUT:-${IN:-deep}}', G: '${X:+there}', H: '${X:?needed}'}}}")
    [tree] = read_tree(text)
    [service] = compose_services(tree, "c", {"X": "v", "E": ""})
    assert service.image == "x:1"
    assert {s.name: s.value for s in service.settings} == {
        "A": "v", "B": "d", "C": "", "D": "v/$X", "F": "deep", "G": "there", "H": "v"}

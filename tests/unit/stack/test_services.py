import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ullage.devices import Gpu, Machine
from ullage.errors import SettingsError
from ullage.plan import plan_service
from ullage.settings import SERVICES, Settings, load
from ullage.stack.place import elsewhere, place
from ullage.stack.services import DRAIN_S, drain_s, flags_as_environment, specs

GIB = 1 << 30
MACHINE = Machine(cores=2, total_bytes=16 * GIB, free_bytes=16 * GIB, limit="host")


def stack(environ=None, only=None, config=None, **flags):
    effective = load(flags, environ=environ or {})
    plan = place(effective.settings, only, MACHINE)
    return {spec.service: spec for spec in specs(plan, effective, config)}, plan


def test_every_service_becomes_a_process():
    processes, plan = stack()
    assert set(processes) >= {*SERVICES}
    for service, process in processes.items():
        assert sum(process.ledger.values()) == plan[service].ledger.total
        assert process.profile == plan[service].profile_id


def test_a_child_is_given_its_port_and_its_bytes():
    processes, plan = stack(ranking_port=5005)
    assert processes["ranking"].command == (
        sys.executable, "-m", "ullage", "serve", "ranking", "--host", "127.0.0.1", "--port", "5005",
        "--memory", str(plan["ranking"].ledger.total),
    )


def child_settings(process, planned):
    """What `ullage serve` reads in the child."""
    return load({f"{planned.service}_memory": planned.ledger.total}, environ=dict(process.environment)).settings


def test_a_child_chooses_the_same_profile_again():
    for memory in (None, "2100MiB", "2300MiB"):
        processes, plan = stack(memory=memory)
        for planned in plan.services:
            own = child_settings(processes[planned.service], planned)
            again = plan_service(planned.service, planned.card, own, MACHINE)[planned.service]
            assert again.profile == planned.profile


def test_a_child_gets_its_gpu_and_its_share_of_it():
    gpu = Gpu(1, "NVIDIA A100-SXM4-80GB", 80 * GIB, 30 * GIB, compute=(8, 0))
    settings = load({"ranking_model": "nvidia/llama-nemotron-rerank-1b-v2"}, environ={})
    plan = place(settings.settings, ("ranking", "embedding"), replace(MACHINE, gpus=(gpu,)))
    processes = {spec.service: spec for spec in specs(plan, settings)}
    ranking = processes["ranking"].environment
    assert ranking["ULLAGE_RANKING_DEVICE"] == "cuda:1"
    assert ranking["ULLAGE_RANKING_GPU_MEMORY"] == str(plan["ranking"].gpu_ledger.total)
    assert processes["embedding"].environment["ULLAGE_EMBEDDING_DEVICE"] == "cpu"
    again = child_settings(processes["ranking"], plan["ranking"])
    nearly_full = replace(gpu, free_bytes=plan["ranking"].gpu_ledger.total)
    machine = replace(MACHINE, gpus=(nearly_full,))
    assert plan_service("ranking", plan["ranking"].card, again, machine)["ranking"].profile == plan["ranking"].profile


def test_flags_reach_the_child_as_environment_and_nothing_else_does():
    effective = load({"collection": "mine", "threads": 1, "enable_reranker": False, "memory": "2GiB"},
                     environ={"ULLAGE_HOST": "0.0.0.0"})
    given = flags_as_environment(effective, Path("ullage.yaml"))
    assert given == {
        "ULLAGE_COLLECTION": "mine", "ULLAGE_THREADS": "1", "ULLAGE_ENABLE_RERANKER": "False",
        "ULLAGE_MEMORY": str(2 * GIB), "ULLAGE_CONFIG": str(Path("ullage.yaml").absolute()),
    }
    del given["ULLAGE_CONFIG"]
    assert load({}, environ={**given, "ULLAGE_HOST": "0.0.0.0"}).settings == effective.settings


def test_the_vector_database_is_bound_stopped_and_probed_in_its_own_way():
    processes, _ = stack({"ULLAGE_HOST": "::1"}, state_dir=Path("/somewhere"))
    vectors = processes["vectors"]
    assert vectors.command[2:] == ("ullage.stack.lite_server", "--data-dir", "/somewhere/vectors",
                                   "--host", "[::1]", "--port", "19530")
    assert (vectors.probe, vectors.stop_signal) == ("grpc", signal.SIGINT)
    assert processes["rag"].stop_signal == signal.SIGTERM


def test_services_wait_only_for_what_runs_here():
    processes, _ = stack()
    assert processes["rag"].needs == ("vectors", "embedding")
    processes, _ = stack(only=("embedding", "rag"))
    assert processes["rag"].needs == ("embedding",)


def test_what_runs_elsewhere_is_not_started():
    environ = {"APP_LLM_SERVERURL": "llm:8000", "ULLAGE_VECTORS_URI": "http://milvus:19530"}
    processes, _ = stack(environ)
    assert {*processes} & {*SERVICES} == {"ranking", "embedding", "ingest", "rag"}
    assert elsewhere(load({}, environ=environ).settings) == {
        "vectors": "http://milvus:19530", "llm": "http://llm:8000",
    }


def test_a_foreign_name_that_a_flag_overruled_does_not_reach_the_child():
    effective = load({"rerank_top_k": 6}, environ={"APP_RETRIEVER_TOPK": "4"})
    given = flags_as_environment(effective)
    assert given == {"APP_RETRIEVER_TOPK": "", "ULLAGE_RERANK_TOP_K": "6"}
    assert load({}, environ={"APP_RETRIEVER_TOPK": "4", **given}).settings == effective.settings


def test_a_service_with_a_queue_is_given_the_time_that_its_requests_have():
    assert drain_s("ranking", Settings()) == drain_s("embedding", Settings()) == 120.0
    assert drain_s("ranking", Settings(request_timeout_s=1)) == drain_s("rag", Settings()) == DRAIN_S


@pytest.mark.parametrize(("name", "value", "fault"), [
    ("tls_cert", "/nowhere.pem", "tls_cert is set and tls_key is not"), ("api_keys", " , ", "api_keys holds no key"),
])
def test_a_door_that_nobody_could_use_is_refused_before_anything_starts(name, value, fault):
    with pytest.raises(SettingsError, match=fault):
        stack({f"ULLAGE_{name.upper()}": value})


def test_where_keys_are_asked_for_the_vector_database_is_on_the_loopback():
    processes, _ = stack({"ULLAGE_API_KEYS": "abc", "ULLAGE_HOST": "0.0.0.0"})
    assert processes["vectors"].host == "127.0.0.1"
    assert "127.0.0.1" in processes["vectors"].command
    assert processes["rag"].host == "0.0.0.0"
    open_to_all, _ = stack({"ULLAGE_HOST": "0.0.0.0"})
    assert open_to_all["vectors"].host == "0.0.0.0"


def test_a_secret_given_by_flag_reaches_the_child_whole_and_no_command_line():
    processes, _ = stack(api_keys="first,second")
    assert processes["rag"].environment["ULLAGE_API_KEYS"] == "first,second"
    assert not [word for process in processes.values() for word in process.command if "first" in word]

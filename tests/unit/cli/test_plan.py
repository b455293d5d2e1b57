import re

import pytest

SERVICES = ["vectors", "ranking", "embedding", "llm", "ingest", "rag", "web"]


def test_the_parts_add_up(ullage):
    plan = ullage("plan", "--memory", "3GiB", "--json").json
    assert [service["service"] for service in plan["services"]] == SERVICES
    for service in plan["services"]:
        parts = [service[f"{part}_bytes"] for part in ("fixed", "weights", "activations", "slack")]
        assert sum(parts) == service["total_bytes"]
    assert sum(service["total_bytes"] for service in plan["services"]) == plan["total_bytes"] <= 3 << 30
    assert (plan["budget_bytes"], plan["budget_source"], plan["elsewhere"]) == (3 << 30, "memory", {})


def test_people_see_the_same(ullage):
    plan = ullage("plan", "--memory", "3GiB", "--json").json
    shown = ullage("plan", "--memory", "3GiB").out
    for service in plan["services"]:
        [line] = [line for line in shown.splitlines() if line.startswith(f"{service['service']} ")]
        assert service["profile"] in line
    assert "of 3,072 MiB (memory)" in shown


def test_a_budget_too_small_is_refused_and_the_one_it_names_works(ullage):
    ran = ullage("plan", "--memory", "300MiB")
    assert (ran.code, ran.out) == (3, "")
    assert "the budget is 300 MiB (memory)" in ran.refusal
    needed = ran.refusal.rsplit(" ", 1)[1]
    smallest = ullage("plan", "--memory", needed, "--json")
    assert smallest.code == 0
    rejected = {s["service"]: s["rejected"] for s in smallest.json["services"]}
    assert all("over the budget" in r["reason"] for r in rejected["llm"])
    assert rejected["llm"]
    assert "llm rejected cpu-q4_1-" in ullage("plan", "--memory", needed).out


def test_only_some(ullage):
    plan = ullage("plan", "--only", "embedding,ranking", "--json").json
    assert [service["service"] for service in plan["services"]] == ["ranking", "embedding"]
    assert plan["services"][0]["model"] == "ullage/minilm-fusion-ranker"


def test_one_service_and_some_of_the_stack_is_one_too_many(ullage):
    ran = ullage("plan", "ranking", "--only", "llm")
    assert (ran.code, ran.out) == (2, "")
    assert ran.refusal == "ranking and --only llm are both given: name one service, or some of the stack"


def test_one_service_too_large_shows_what_it_is_made_of(ullage):
    ran = ullage("plan", "ranking", "--memory", "100MiB")
    assert ran.code == 3
    assert re.fullmatch(
        r"ranking does not fit: the smallest profile, cpu-\S+, needs fixed \d+ MiB \+ weights \d+ MiB \+ "
        r"activations \d+ MiB \+ slack \d+ MiB = (\d+) MiB, the budget is 100 MiB \(ranking_memory\); the smallest "
        r"budget that works is \1MiB", ran.refusal)


def test_what_runs_elsewhere_is_said_and_not_planned(ullage):
    ran = ullage("--set", "llm_url=http://far:1", "plan", "--json")
    assert ran.json["elsewhere"] == {"llm": "http://far:1"}
    assert "llm" not in [service["service"] for service in ran.json["services"]]
    assert "it runs at http://far:1" in ullage("--set", "llm_url=http://far:1", "plan").out


@pytest.mark.parametrize(("arguments", "code"), [(["--memory", "lots"], 2), (["--only", "rankng"], 2)])
def test_what_cannot_be_planned_is_refused(ullage, arguments, code):
    ran = ullage("plan", *arguments)
    assert ran.code == code
    assert ran.refusal


def test_a_model_nobody_knows_is_refused(ullage):
    ran = ullage("--set", "ranking_model=big-reranker", "plan")
    assert ran.code == 4
    assert "no ranking model is called 'big-reranker'" in ran.refusal


RERANKER = ("--set", "ranking_model=nvidia/llama-nemotron-rerank-1b-v2")


def test_a_machine_that_is_not_here_is_planned_for(ullage):
    plan = ullage(*RERANKER, "plan", "--device-file", "a100dx-80c-held", "--json").json
    [ranking] = [service for service in plan["services"] if service["service"] == "ranking"]
    assert (ranking["device"], ranking["profile"]) == ("cuda:0", "cuda-bf16-t16384-s8192")
    [gpu] = plan["gpus"]
    assert gpu["planned_bytes"] == ranking["gpu"]["total_bytes"] <= gpu["budget_bytes"] <= gpu["free_bytes"] * 0.95
    assert "58 GiB" in plan["machine"]
    shown = ullage(*RERANKER, "plan", "--device-file", "a100dx-80c-held").out
    assert "59,392 MiB held by others (the driver does not say whom)" in shown


def test_one_service_is_planned_as_it_would_be_alone(ullage):
    plan = ullage("plan", "ranking", "--memory", "700MiB", "--json").json
    assert [service["service"] for service in plan["services"]] == ["ranking"]
    assert (plan["budget_bytes"], plan["budget_source"]) == (700 << 20, "ranking_memory")


def test_profiles_are_listed_in_the_familiar_form_and_can_be_pinned(ullage):
    where = ("--device-file", "h100-mig-20gb")
    found = ullage(*RERANKER, "list-model-profiles", "ranking", *where, "--json").json
    shown = ullage(*RERANKER, "list-model-profiles", "ranking", *where).out
    assert [profile["number"] for profile in found] == list(range(len(found)))
    for profile in found:
        assert f"{profile['hash']} (type=" in shown
        pinned = ullage(*RERANKER, "--set", f"ranking_profile={profile['hash']}", "plan", "ranking", *where, "--json")
        assert (pinned.code == 0) == (profile["state"] == "fits")
        if pinned.code == 0:
            assert pinned.json["services"][0]["profile"] == profile["id"]


def test_a_profile_that_is_not_listed_and_a_machine_that_is_not_there_are_refused(ullage):
    ran = ullage(*RERANKER, "--set", "ranking_profile=profile_0", "plan", "ranking", "--device-file", "t4")
    assert ran.code == 2
    assert "listed are 0 cuda-fp16-t16384-s8192, 1 " in ran.refusal
    assert ullage("plan", "--device-file", "t5").code == 2


def test_what_cannot_be_served_says_why_and_what_can(ullage):
    ran = ullage("--set", "ranking_model=nvidia/llama-nemotron-rerank-vl-1b-v2", "plan")
    assert ran.code == 4
    assert "cannot be served" in ran.refusal


def test_one_service_means_one(ullage):
    assert "ranking,rag names 2 services: name one" in ullage("plan", "ranking,rag").refusal
    assert ullage("serve", "ranking,rag").code == 2

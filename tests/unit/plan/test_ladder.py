"""The order in which profiles are tried, and what each setting does to it."""

import pytest

from ullage.devices import Gpu, Machine
from ullage.errors import DoesNotFit, ModelUnsupported, SettingsError
from ullage.models.card import Shape, find_card
from ullage.plan import ladder, listed, plan_service, profile_hash
from ullage.settings import Settings

MIB = 1 << 20
GIB = 1 << 30
SHAPE = Shape(hidden=2048, layers=16, heads=32, kv_heads=8, head_dim=64, ffn=8192, vocab=128256, positions=131072)
RERANKER = find_card("ullage/minilm-fusion-ranker", "ranking").model_copy(update={
    "name": "test/reranker-1b", "kind": "cross-encoder", "family": "llama-bidirectional", "backends": ("packed",),
    "precision": "bf16", "shape": SHAPE, "max_sequence": 8192, "files": (),
})


def gpu(index=0, free=80 * GIB, total=80 * GIB, compute=(9, 0), **more):
    return Gpu(index, "a GPU", total, free, compute=compute, **more)


def machine(*gpus, free=64 * GIB):
    return Machine(cores=8, total_bytes=64 * GIB, free_bytes=free, limit="host", gpus=gpus)


def ids(settings=None, *gpus):
    return [f"{r.where} {r.profile.id}" for r in ladder("ranking", RERANKER, settings or Settings(), machine(*gpus))]


def test_fewer_tokens_first_then_precision_then_the_table_then_the_cpu():
    assert ids(Settings(allow_lower_precision=True), gpu()) == [
        "cuda:0 cuda-bf16-t16384-s8192", "cuda:0 cuda-bf16-t8192-s8192",
        "cuda:0 cuda-int8-t16384-s8192", "cuda:0 cuda-int8-t8192-s8192",
        "cuda:0 cuda-fp8-t16384-s8192", "cuda:0 cuda-fp8-t8192-s8192",
        "cuda:0 cuda-bf16-hostembed-t16384-s8192", "cuda:0 cuda-bf16-hostembed-t8192-s8192",
        "cuda:0 cuda-int8-hostembed-t16384-s8192", "cuda:0 cuda-int8-hostembed-t8192-s8192",
        "cuda:0 cuda-fp8-hostembed-t16384-s8192", "cuda:0 cuda-fp8-hostembed-t8192-s8192",
        "cpu cpu-fp32-t8192-s8192", "cpu cpu-bf16-t8192-s8192",
    ]


def test_what_is_not_allowed_is_not_tried():
    assert ids(Settings(allow_host_embedding=False, allow_cpu=False), gpu()) == [
        "cuda:0 cuda-bf16-t16384-s8192", "cuda:0 cuda-bf16-t8192-s8192"]
    assert all(rung.startswith("cpu ") for rung in ids(Settings(ranking_device="cpu"), gpu()))
    assert not any(rung.startswith("cpu ") for rung in ids(Settings(ranking_device="cuda"), gpu()))


def test_a_gpu_computes_in_what_it_has():
    assert ids(Settings(allow_lower_precision=True, allow_host_embedding=False), gpu(compute=(7, 5)))[0] == (
        "cuda:0 cuda-fp16-t16384-s8192")
    assert not any("int8" in rung for rung in ids(Settings(allow_lower_precision=True), gpu(compute=(7, 5))))
    older = ids(Settings(allow_lower_precision=True), gpu(compute=(8, 0)))
    assert any("int8" in rung for rung in older)
    assert not any("fp8" in rung for rung in older)
    assert ids(Settings(precision="int8"), gpu(compute=(8, 0)))[0] == "cuda:0 cuda-int8-t16384-s8192"
    with pytest.raises(SettingsError, match=r"precision=fp8 runs on none of these GPUs: cuda:0 a GPU .*8\.6"):
        ids(Settings(precision="fp8"), gpu(compute=(8, 6)))
    assert ids(Settings(precision="fp8"), gpu(compute=(8, 9)))[0] == "cuda:0 cuda-fp8-t16384-s8192"
    with pytest.raises(SettingsError, match=r"precision=fp8: on the CPU .* runs in fp32 or bf16"):
        ids(Settings(precision="fp8"))


def test_the_emptier_gpu_comes_first_and_one_can_be_named():
    two = (gpu(0, free=10 * GIB), gpu(1, free=20 * GIB))
    assert [r.split()[0] for r in ids(Settings(), *two)[:2]] == ["cuda:1", "cuda:0"]
    assert {r.split()[0] for r in ids(Settings(ranking_device="cuda:0"), *two)} == {"cuda:0"}
    with pytest.raises(SettingsError, match="cuda:2 is not a GPU of this machine: there are cuda:0, "):
        ids(Settings(ranking_device="cuda:2"), *two)
    with pytest.raises(SettingsError, match="this machine has no GPU"):
        ids(Settings(ranking_device="cuda"))


def test_one_engine_on_each_of_the_gpus_that_are_named_together():
    two = (gpu(0, compute=(8, 0)), gpu(1, compute=(9, 0)))
    found = ladder("ranking", RERANKER, Settings(ranking_device="cuda:1,cuda:0", allow_lower_precision=True),
                   machine(*two))
    assert {r.where for r in found} == {"cuda:1,cuda:0"}
    assert {r.profile.precision for r in found} == {"bf16", "int8"}  # what both compute in
    alone = ladder("ranking", RERANKER, Settings(ranking_device="cuda:1"), machine(*two))
    assert found[0].gpu_ledger == alone[0].gpu_ledger
    on_host = [next(r for r in rungs if r.profile.host_embedding).ledger for rungs in (found, alone)]
    assert on_host[0].weights == 2 * on_host[1].weights  # each engine pins its own table
    with pytest.raises(SettingsError, match="ranking_device=cuda:1,cuda:5: cuda:5 is not a GPU"):
        ids(Settings(ranking_device="cuda:1,cuda:5"), *two)
    with pytest.raises(SettingsError, match="names a GPU twice"):
        ids(Settings(ranking_device="cuda:1,cuda:1"), *two)
    with pytest.raises(SettingsError, match=r"precision=fp8 runs on none of these GPUs: cuda:0 .*8\.0.*, cuda:1 "):
        ids(Settings(ranking_device="cuda:0,cuda:1", precision="fp8"), *two)


def test_a_model_of_the_cpu_cannot_be_sent_to_a_gpu():
    card = find_card("ullage/minilm-fusion-ranker", "ranking")
    with pytest.raises(SettingsError, match="runs on the CPU only"):
        ladder("ranking", card, Settings(ranking_device="cuda"), machine(gpu()))


def test_a_profile_is_pinned_by_id_hash_or_number():
    rungs = ladder("ranking", RERANKER, Settings(), machine(gpu()))
    second = listed(rungs)[1]
    for name in (second.id, profile_hash(RERANKER, second), "1"):
        plan = plan_service("ranking", RERANKER, Settings(ranking_profile=name), machine(gpu()))
        assert plan["ranking"].profile == second
    with pytest.raises(SettingsError, match=r"ranking_profile=profile_0 is no profile .* 0 cuda-bf16-t16384-s8192, 1 "):
        ladder("ranking", RERANKER, Settings(ranking_profile="profile_0"), machine(gpu()))


def test_what_others_hold_is_respected_and_named():
    full = gpu(free=2 * GIB, holders_known=False)
    with pytest.raises(DoesNotFit) as refused:
        plan_service("ranking", RERANKER, Settings(allow_cpu=False), machine(full))
    message = refused.value.message
    assert "fixed 493 MiB + weights" in message
    assert "2,048 MiB free of 81,920 MiB, 79,872 MiB held by others (the driver does not say whom)" in message
    assert refused.value.needed_bytes > refused.value.budget_bytes == 0


def test_each_rejected_profile_says_its_bytes():
    above, below = ladder("ranking", RERANKER, Settings(), machine(gpu()))[:2]
    settings = Settings(gpu_memory=above.gpu_bytes - 1)
    planned = plan_service("ranking", RERANKER, settings, machine(gpu()))["ranking"]
    assert planned.profile == below.profile
    [(profile, reason)] = planned.rejected
    assert profile == above.profile.id
    assert f"needs {-(-above.gpu_bytes // MIB):,} MiB on cuda:0, over the budget of" in reason
    assert "(gpu_memory)" in reason
    assert [f.where for f in planned.fallbacks] == ["cuda:0", "cuda:0", "cpu"]


def test_without_room_on_the_gpu_it_runs_on_the_cpu_and_says_why():
    planned = plan_service("ranking", RERANKER, Settings(), machine(gpu(free=1 * GIB)))["ranking"]
    assert (planned.where, planned.profile_id) == ("cpu", "cpu-fp32-t8192-s8192")
    assert len(planned.rejected) == 4


def test_a_model_that_cannot_be_served_is_refused():
    with pytest.raises(ModelUnsupported, match=r"test/reranker-1b cannot be served: it looks at pictures"):
        ladder("ranking", RERANKER.model_copy(update={"not_servable": "it looks at pictures"}), Settings(), machine())

"""Several services on one machine with GPUs."""

import pytest

from ullage.devices import Gpu, Machine
from ullage.errors import DoesNotFit
from ullage.models.card import Shape, find_card
from ullage.plan import plan_stack
from ullage.settings import Settings

GIB = 1 << 30
SHAPE = Shape(hidden=2048, layers=16, heads=32, kv_heads=8, head_dim=64, ffn=8192, vocab=128256, positions=131072)
BIG = {"kind": "cross-encoder", "family": "llama-bidirectional", "backends": ("packed",), "precision": "bf16",
       "shape": SHAPE, "max_sequence": 8192, "files": ()}
CARDS = {
    "ranking": find_card("ullage/minilm-fusion-ranker", "ranking").model_copy(update=BIG | {"name": "test/reranker"}),
    "embedding": find_card("all-MiniLM-L6-v2", "embedding").model_copy(
        update=BIG | {"kind": "embedder", "name": "test/embedder"}),
}
SERVICES = ("ranking", "embedding")


def machine(*free, host=64 * GIB):
    gpus = tuple(Gpu(i, "a GPU", 24 * GIB, size, compute=(8, 9)) for i, size in enumerate(free))
    return Machine(cores=8, total_bytes=host, free_bytes=host, limit="host", gpus=gpus)


def plan(found, **settings):
    return plan_stack(SERVICES, CARDS, Settings(gpu_headroom=0, headroom=0, **settings), found)


def test_two_models_share_a_gpu_when_both_fit():
    found = plan(machine(20 * GIB))
    assert [s.where for s in found.services] == ["cuda:0", "cuda:0"]
    assert found.gpu_bytes(0) == sum(s.gpu_ledger.total for s in found.services) <= 20 * GIB


def test_each_has_its_own_gpu_when_one_holds_only_one():
    found = plan(machine(4 * GIB, 4 * GIB))
    assert sorted(s.where for s in found.services) == ["cuda:0", "cuda:1"]


def test_a_model_on_two_gpus_takes_its_bytes_on_each():
    found = plan(machine(7 * GIB, 4 * GIB), ranking_device="cuda:0,cuda:1")
    assert found["ranking"].where == "cuda:0,cuda:1"
    assert found["embedding"].where == "cuda:0"  # beside it on the one with room
    each = found["ranking"].gpu_ledger.total
    assert found.gpu_bytes(1) == each
    assert found.gpu_bytes(0) == each + found["embedding"].gpu_ledger.total
    with pytest.raises(DoesNotFit, match="on cuda:1, where the budget is 1,024 MiB"):
        plan(machine(20 * GIB, GIB), ranking_device="cuda:0,cuda:1", allow_cpu=False)


def test_the_embedder_leaves_the_gpu_before_the_reranker_gives_a_token():
    found = plan(machine(4 * GIB))
    assert found["ranking"].profile_id == "cuda-bf16-t16384-s8192"
    assert found["embedding"].where == "cpu"
    reasons = [reason for _, reason in found["embedding"].rejected]
    assert len(reasons) == 4
    assert all("on cuda:0" in reason and "MiB with other services, over the budget of" in reason for reason in reasons)


def test_when_the_host_is_small_both_must_fit_the_gpu():
    host = 5 * GIB
    found = plan(machine(7 * GIB, host=host))
    assert [s.where for s in found.services] == ["cuda:0", "cuda:0"]
    assert found.total_bytes <= host


def test_a_refusal_says_what_every_model_needs_and_what_the_gpu_has():
    with pytest.raises(DoesNotFit) as refused:
        plan(machine(GIB), allow_cpu=False)
    message = refused.value.message
    assert "ranking cuda-bf16-hostembed-t8192-s8192 needs fixed" in message
    assert "embedding cuda-bf16-hostembed-t8192-s8192 needs fixed" in message
    assert "1,024 MiB free of 24,576 MiB, 23,552 MiB held by others" in message

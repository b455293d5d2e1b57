"""A short flood of the largest requests; `make chaos` runs three minutes of it at the model's full length."""

from flooding import Body, flood
from processes import running

BUDGET_BYTES = 400 << 20


async def test_a_flood_stays_under_the_budget_and_every_answer_is_right_or_a_refusal(model_cache, tmp_path):
    bodies = [Body.make(seed, words=70) for seed in range(2)]
    limits = {"ULLAGE_QUEUE_TOKENS": "70000", "ULLAGE_MAX_SEQUENCE": "64"}
    with running("ranking", tmp_path, "--memory", "400MiB", **limits) as service:
        seen = await flood(service.url, service.process.pid, bodies, clients=16, seconds=12)
        assert service.stop() == 0
    assert seen.peak_bytes < BUDGET_BYTES
    assert seen.lost == []
    assert seen.wrong == 0
    assert set(seen.statuses) <= {200, 429, 503}
    assert seen.statuses[200] >= 2
    assert seen.statuses[503] >= 16
    assert seen.bare == 0

"""The ranking service under a stated budget, flooded by 16 clients with the largest requests there are."""

import pytest

from flooding import Body, flood
from processes import running

BUDGET_BYTES = 700 << 20
SECONDS = 180


@pytest.mark.timeout(900)
async def test_three_minutes_of_the_largest_requests_stay_under_700_mib(model_cache, tmp_path):
    bodies = [Body.make(seed, words=520) for seed in range(2)]
    with running("ranking", tmp_path, "--memory", "700MiB", ULLAGE_REQUEST_TIMEOUT_S="600") as service:
        seen = await flood(service.url, service.process.pid, bodies, clients=16, seconds=SECONDS)
        assert service.stop() == 0
    print(f"peak {seen.peak_bytes >> 20} MiB of {BUDGET_BYTES >> 20} MiB, answers {dict(seen.statuses)}, "
          f"{seen.seconds:.0f} s")
    assert seen.peak_bytes < BUDGET_BYTES
    assert seen.lost == []
    assert seen.wrong == 0
    assert set(seen.statuses) <= {200, 429, 503}
    assert seen.statuses[200] >= 2
    assert seen.bare == 0

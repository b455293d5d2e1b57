"""Every family against transformers in fp32: all lengths, random packs, and a row alone against the row in a pack."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from checkpoints import torch
from packed_models import Made
from ullage.engines.base import Batch
from ullage.engines.cuda_packed.engine import PackedEngine

Load = Callable[..., PackedEngine]
LIMIT = 1e-4


def test_all_lengths(ranker: Made, load: Load) -> None:
    rows = ranker.rows(range(1, 601))
    found = load(ranker).run(Batch.lay(rows)).rows
    wanted = np.stack([ranker.reference(row) for row in rows])
    assert found.shape == (600, 1)
    assert np.abs(found - wanted).max() <= LIMIT
    assert np.std(wanted) > 0.01  # the logits differ, so the comparison says something


@pytest.mark.parametrize("seed", range(4))
def test_random_packs(ranker: Made, load: Load, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = ranker.rows(random.integers(1, 300, random.integers(1, 30)), seed)
    found = load(ranker).run(Batch.lay(rows)).rows
    wanted = np.stack([ranker.reference(row) for row in rows])
    assert np.abs(found - wanted).max() <= LIMIT


def test_a_row_alone_equals_the_row_in_a_pack(ranker: Made, load: Load) -> None:
    engine = load(ranker)
    rows = ranker.rows([5, 129, 64, 1, 300, 128, 257])
    together = engine.run(Batch.lay(rows)).rows
    alone = np.concatenate([engine.run(Batch.lay([row])).rows for row in rows])
    assert np.abs(together - alone).max() <= 1e-5


def test_embedders(embedder: Made, load: Load) -> None:
    rows = embedder.rows([1, 2, 40, 128, 129, 333, 600])
    found = load(embedder).run(Batch.lay(rows)).rows
    wanted = np.stack([embedder.reference(row) for row in rows])
    if embedder.card.normalize:
        wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= LIMIT


def test_the_reference_sees_both_ways(ranker: Made) -> None:
    """A causal reference would give plausible numbers too: its first token must see the last one."""
    ids = torch.from_numpy(ranker.rows([6])[0].input_ids).long()
    other = ids.clone()
    other[-1] = ids[-1] - 1 if ids[-1] > 4 else ids[-1] + 1
    with torch.no_grad():
        trunk = getattr(ranker.model, "base_model", ranker.model)
        first, second = (trunk(input_ids=row[None]).last_hidden_state[0, 0] for row in (ids, other))
    assert (first - second).abs().max() > 1e-3

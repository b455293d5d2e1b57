from ullage.bench.load_overload import Phase


def figures(seconds: float, tokens: float, rows: float, batches: float) -> dict[str, float]:
    names = ("compute_seconds", "tokens", "rows", "batches")
    return {f"ullage_scheduler_{name}_total": value
            for name, value in zip(names, (seconds, tokens, rows, batches), strict=True)}


def test_a_phase_tells_idle_from_slow():
    before = figures(10, 1000, 10, 5)
    assert Phase.between(before, figures(18, 5000, 30, 10), seconds=10) == Phase(0.8, 500, 4)


def test_a_phase_without_a_batch():
    assert Phase.between(figures(1, 1, 1, 1), figures(1, 1, 1, 1), seconds=10) == Phase(0, 0, 0)

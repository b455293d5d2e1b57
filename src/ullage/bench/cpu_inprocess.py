"""Our own engine in a process of its own, spoken to as a peer is: `python -m ullage.bench.cpu_inprocess FOLDER`.

Settings come from the environment, as everywhere.
"""

from __future__ import annotations

import json
import sys
import time

from ullage import Reranker
from ullage.bench.cpu_peer import answer
from ullage.version import __version__


def main() -> None:
    begun = time.perf_counter()
    with Reranker(sys.argv[1]) as reranker:

        def score(query: str, passages: list[str]) -> list[float]:
            scores = [0.0] * len(passages)
            for each in reranker.rank(query, passages):
                scores[each.index] = each.logit
            return scores

        score.concurrent = True  # type: ignore[attr-defined]
        print(json.dumps({"loaded_s": time.perf_counter() - begun, "versions": {"ullage": __version__}}), flush=True)
        for line in sys.stdin:
            print(json.dumps(answer(score, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()

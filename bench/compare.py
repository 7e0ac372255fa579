"""How often `llmtask compare` cries wolf, and how often it sees one: simulated runs of known rates.

python bench/compare.py [--runs N]

A false alarm is any line of a comparison of equals that says better or worse; at most alpha (0.05) of comparisons may
have one. The runs are those of tests/unit/testing/runs.py: cases of unlike difficulty, errors, latencies, costs.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.unit.testing.runs import World  # noqa: E402  # after the path

from llmtask.testing.compare import QUALITY, Verdict, compare  # noqa: E402

EQUALS: dict[str, dict[str, Any]] = {
    "30 cases x 2 models x 2 locales x 3 checks x 2 repeats": {},
    "100 cases x 1 model x 1 locale x 2 checks": {
        "cases": 100,
        "models": ["m"],
        "locales": ["zh"],
        "checks": ["schema", "language"],
        "repeats": 1,
    },
    "20 cases x 1 model x 1 locale x 1 check x 5 repeats": {
        "cases": 20,
        "models": ["m"],
        "locales": ["zh"],
        "checks": ["schema"],
        "repeats": 5,
    },
}
SMALL: dict[str, Any] = {"cases": 100, "models": ["m"], "locales": ["zh"], "checks": ["schema"], "repeats": 1}
WORSE: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    "100 cases, 90 -> 70 %": (SMALL, {"rate": 0.7}),
    "100 cases, 90 -> 80 %": (SMALL, {"rate": 0.8}),
    "50 cases x 2 models x 2 locales x 3 repeats, 90 -> 80 %": ({"cases": 50, "repeats": 3}, {"rate": 0.8}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    print(f"{runs} comparisons of equals{'':<40} any line   quality   regression   ms each")
    for name, world in EQUALS.items():
        begun = time.perf_counter()
        found = [told(World(seed, **world), {}) for seed in range(runs)]
        shares = [100 * sum(column) / runs for column in zip(*found, strict=True)]
        took = 1000 * (time.perf_counter() - begun) / runs
        print(f"{name:<62} {shares[0]:6.1f} %  {shares[1]:6.1f} %     {shares[2]:6.1f} %   {took:6.0f}")
    few = max(runs // 5, 1)
    print(f"\n{few} comparisons with a worse run{'':<40} called a regression")
    for name, (world, change) in WORSE.items():
        share = 100 * sum(told(World(seed, **world), change)[2] for seed in range(few)) / few
        print(f"{name:<62} {share:15.1f} %")


def told(world: World, change: dict[str, float]) -> tuple[bool, bool, bool]:
    """Whether any line says better or worse, whether one on quality does, and whether it is called a regression."""
    found = compare(world.run(1), world.run(2, **change))
    said = [one for one in found.changes if one.verdict is not Verdict.CANNOT_TELL]
    return bool(said), any(one.kind in QUALITY for one in said), found.is_regression


if __name__ == "__main__":
    main()

"""A paper's table in a minute: does the learning rate matter after pruning, and after the repair?

    python examples/paper_table.py             writes to runs/, and goes on there if it is stopped

Table 1 of Wang et al., 2021 (arXiv 2105.05916), on handwritten digits: a linear perceptron loses 80 % of its
filters, is repaired or not, and retrained at two rates; two seeds. `isoprune report` draws the page of it.
"""

import sys
from pathlib import Path

import isoprune
from isoprune.comparison.records import read_records
from isoprune.experiment import Store, expand, run
from isoprune.reporting.pivots import as_markdown, pivot

STUDY = {
    "data": {"name": "digits", "size": 16},
    "model": {"name": "mlp_7", "activation": "linear"},
    "prune": {"ratio": 0.8},
    "dense": {"epochs": 6, "lr": 1e-2, "schedule": "constant", "jsv_samples": 0},
    "retrain": {"epochs": 4, "schedule": "constant", "jsv_samples": 0},
    "study": {"repair": ["none", "orthp"], "retrain.lr": [1e-2, 1e-3], "seed": [0, 1]},
}


def main(folder: Path) -> dict[tuple[str, str], float]:
    store = Store(folder)
    for experiment in expand(STUDY, name="lr").experiments:
        run(experiment, store)
    table = pivot(read_records(folder), rows="repair", columns="lr")
    print(as_markdown(table))
    print(f"{len(isoprune.records(folder))} runs, a row each in isoprune.records")
    return {(r, c): table.summary((r,), (c,)).mean for r in ("none", "orthp") for c in ("0.001", "0.01")}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))

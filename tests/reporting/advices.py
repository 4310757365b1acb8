"""Advice as `isoprune advise --out` gives it, made by hand."""

from __future__ import annotations

from typing import Any

RATES = (0.003, 0.01, 0.03, 0.1, 0.3)


def advice(
    *accuracies: float | None, lr: float = 0.1, judge_samples: int = 400, learns: bool = True, **changes: Any
) -> dict[str, Any]:
    """Return advice of ``lr`` after probes that ended at ``accuracies``; None: they diverged."""
    ended = accuracies or (0.4, 0.6, 0.8, 0.795, None)
    probes = [
        {"lr": rate, "steps": 45, "metric_value": a, "loss": None if a is None else 2 - a}
        for rate, a in zip(RATES, ended, strict=False)
    ]
    return {
        "kind": "advice",
        "version": 1,
        "network": "repaired mlp_7 (runs/repaired/0123)",
        "lr": lr,
        "rates": [p["lr"] for p in probes],
        "probes": probes,
        "steps": 300,
        "judge_samples": judge_samples,
        "metric_before": 0.25,
        "chance": 0.11,
        "cost": 0.15,
        "learns": learns,
        "tolerance": 0.01,
        "schedule": '"one_cycle"',
        "curve": [[i / 100, 1 - i / 100] for i in range(100)],
        "damage": {
            "verdict": "collapsed",
            "headline": "Collapsed: the mean Jacobian singular value is 0.02.",
            "numbers": {"jsv_mean": 0.02, "dense_jsv_mean": 1.1, "jsv_ratio": 0.018},
            "samples": 64,
            "method": "exact",
        },
        "copy": {
            "config": f'retrain = {{ epochs = 30, lr = {lr}, schedule = "one_cycle" }}',
            "Python": f"isoprune.retrain(network, splits, epochs=30, lr={lr}, schedule='one_cycle')",
        },
        "provisos": ["The weights of net:make are random (seed 0)."],
        "settings": {"network": "record.json", "epochs": "30", "isoprune": "0.1.0"},
        **changes,
    }

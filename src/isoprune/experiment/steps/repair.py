"""The repaired network of a step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isoprune.experiment import seeds
from isoprune.experiment.networks import Made
from isoprune.experiment.recipe_steps import PlacedStep
from isoprune.experiment.signatures import bind
from isoprune.experiment.step_result import Bench, StepResult, pruned_of, rewound_to
from isoprune.experiment.step_types import Repair
from isoprune.experiment.steps.rewind import earlier
from isoprune.pruning.grains import require_grain
from isoprune.signals import Signals
from isoprune.types.methods import Repaired


def make_repaired(bench: Bench, step: PlacedStep, way: Sequence[StepResult], _: Path) -> Made:
    """Return a repaired copy of the last network, and the samples of a repair that trains."""
    assert isinstance(step.step, Repair)
    last, method = way[-1], step.step.method
    epoch = rewound_to(way)
    # What a repair restores is what the dense network was at the epoch that was rewound to.
    pruned = pruned_of(bench, way, dense=None if epoch is None else earlier(bench, way, epoch))
    batches = seeds.batches(method, bench.splits.train, batch=bench.batch, seed=bench.seed)
    repair = bind("repair", method)
    require_grain(repair, pruned.plan.grain)
    made = repair(
        pruned,
        Signals(last.model, batches, bench.task),
        generator=bench.generator(step.stream("repair")),
    )
    done = Repaired.of(made)
    samples = {"samples": {"trained": done.trained, "estimated": done.judged}} if done.judged else {}
    return Made(done.model, last.plan, last.costs, {**samples, "read": batches.read})

"""Keys of an experiment's config that several places read: sections, choices, what only watches."""

from __future__ import annotations

# Kinds of steps -> the sections of the short form that they are, in their order.
SECTIONS = {"train": "dense", "prune": "prune", "rewind": "rewind", "repair": "repair", "retrain": "retrain"}
# Those of which a section holds one key's value.
ALONE = {"rewind": "epoch", "repair": "method"}
# Keys whose values are chosen by name, in whatever section.
CHOICES = frozenset({"data", "model", "repair", "method", "criterion", "schedule", "penalty", "cadence"})
# Keys of a training that change how it is watched and kept, not what comes out, and why they do not.
WATCHING = {
    "trackers": "where the numbers are shown",
    "checkpoint_steps": "how often the state is written; the result is the same to the bit",
    "checkpoint_seconds": "how often the state is written; the result is the same to the bit",
}

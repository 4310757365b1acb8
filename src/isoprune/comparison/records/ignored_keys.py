"""Keys of a config that change no result: how a run was watched and kept, and what computed it."""

from __future__ import annotations

_STEPS = {
    "jsv_samples": "measures and changes nothing: it draws by a generator of its own",
    "role": "what its network is called",
    "trackers": "where the numbers are shown",
    "checkpoint_steps": "how often the state is written; the result is the same to the bit",
    "checkpoint_seconds": "how often the state is written; the result is the same to the bit",
    "channels_last": "how tensors lie in memory: the same mathematics, faster",
    "compile": "who runs the steps: the same mathematics, faster",
}

# Key, or what it begins with -> why it says nothing of the result.
IGNORED: dict[str, str] = {
    "measure": "how finely the stages are measured",
    "data.root": "where the files lie",
    **{
        f"{training}.{key}": why
        for training in ("dense", "prune.train", "retrain")
        for key, why in _STEPS.items()
    },
}

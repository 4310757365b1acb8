"""A record's config as flat keys: "retrain.lr" -> 0.01; every value a number, a word or None."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from isoprune.types.config_keys import ALONE, CHOICES, SECTIONS, WATCHING

UNSET = "not set"

Number = float | int
Flat = Mapping[str, Any]


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with dotted keys; a choice given as a word is its ``name``, a list is text.

    A chain of repairs is one repair: "orthp + spectrum" is its name, "repair.1.strength" an option of its
    second. Of a recipe of steps, the first of a kind has the keys of the short form, the next "prune.2".
    """
    flat: dict[str, Any] = {}
    sections: Counter[str] = Counter()

    def step_of(step: Mapping[str, Any]) -> None:
        kind = str(step.get("kind"))
        section = SECTIONS.get(kind, kind)
        sections[section] += 1
        path = section if sections[section] == 1 else f"{section}.{sections[section]}"
        inner = ALONE.get(kind)
        # Of a repeat "steps" are those within, of a training how many it takes.
        repeat = kind == "repeat"
        rest = {k: v for k, v in step.items() if k not in ("kind", "role") and not (repeat and k == "steps")}
        walk(rest if inner is None else step.get(inner), path)
        for below in step["steps"] if repeat else ():
            step_of(below)

    def walk(value: Any, path: str) -> None:
        last = path.rpartition(".")[2]
        # Of a chain "steps" are its repairs, of another repair how many it takes.
        if last == "repair" and isinstance(value, Mapping) and isinstance(value.get("steps"), list | tuple):
            value = value["steps"]
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(inner, f"{path}.{key}" if path else str(key))
        elif last == "repair" and isinstance(value, list | tuple):
            steps = [step if isinstance(step, Mapping) else {"name": step} for step in value]
            flat[f"{path}.name"] = " + ".join(str(step.get("name")) for step in steps)
            for i, step in enumerate(steps):
                walk({key: inner for key, inner in step.items() if key != "name"}, f"{path}.{i}")
        elif path == "steps" and isinstance(value, list | tuple):
            for step in value:
                step_of(step)
        elif last in CHOICES:
            flat[f"{path}.name"] = value
        else:
            flat[path] = written(value) if isinstance(value, list | tuple) else value

    walk(config, "")
    return flat


def written(value: Any) -> str:
    """Return a config's value as one word or a short list: 0.01, true, [5, 10], not set."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(written(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {written(item)}" for key, item in value.items()) + "}"
    return UNSET if value is None else str(value)


def under(key: str, prefix: str) -> bool:
    """Whether ``key`` is ``prefix`` or below it: "repair.gain" is under "repair"."""
    return key == prefix or key.startswith(f"{prefix}.")


_STEPS = {
    "jsv_samples": "measures and changes nothing: it draws by a generator of its own",
    "role": "what its network is called",
    **WATCHING,
    "channels_last": "how tensors lie in memory: the same mathematics, faster",
    "probe_share": "how long the rate was looked for: what was found counts, and what it took",
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

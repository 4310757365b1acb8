"""Random modules with everything around a trunk that public bug reports have: a seed gives one.

Outputs of every container, several inputs, branches, heads of train mode and heads that do not run, masks,
norms over weights, random and stateful forwards. `drawn` builds the module and its inputs, and says what it
is made of.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from graph.small_networks import randomise_
from pruning.random_stages import DECORATIONS, STAGES, Flattened, Unflattened, layer

SHAPES = {"vector": (6,), "signal": (3, 8), "image": (3, 6, 6)}


@dataclass
class Answer:
    scores: Any
    boxes: Any
    note: str = "ok"


@dataclass(slots=True)
class Slotted:
    scores: Any
    boxes: Any


class Own:
    def __init__(self, scores, boxes):
        self.scores, self.boxes = scores, boxes


Pair = namedtuple("Pair", "scores boxes")

# ruff: noqa: ARG005

CONTAINERS = {
    "tensor": lambda s, b: s,
    "tuple": lambda s, b: (s, b),
    "list": lambda s, b: [s, b],
    "dict": lambda s, b: {"scores": s, "boxes": b},
    "ordered dict": lambda s, b: OrderedDict(scores=s, boxes=b),
    "named tuple": Pair,
    "deque": lambda s, b: deque((s, b)),
    "dataclass": Answer,
    "slots": Slotted,
    "namespace": lambda s, b: SimpleNamespace(scores=s, boxes=b),
    "own class": Own,
    "nested": lambda s, b: {"all": [Own((s, None), {"boxes": b}), "text", 3]},
    "threshold": lambda s, b: s > 0,
    "threshold in a dict": lambda s, b: {"is": s > 0, "boxes": b},
    "argmax": lambda s, b: s.argmax(1),
    "argmax in a class": lambda s, b: Own(s.argmax(-1), b),
    "bytes": lambda s, b: (s.sigmoid() * 255).round().to(torch.uint8),
    "top": lambda s, b: s.topk(2),
    "normal": lambda s, b: torch.distributions.Normal(s, 1 + b.square().mean(1, keepdim=True)),
    "categorical": lambda s, b: torch.distributions.Categorical(logits=s),
    "softmax": lambda s, b: (s.softmax(1), b.sigmoid()),
    "draw": lambda s, b: s + 0.1 * torch.randn_like(s),
    "number": lambda s, b: {"scores": s, "samples": len(s)},
}
HEADS = ("none", "none", "train", "train", "unrun", "unrun, wide", "method")
INPUTS = ("one", "one", "two", "keywords", "batch")


class Drawn(nn.Module):
    """A trunk of stages, two heads, a third that train mode, another method or nothing runs."""

    def __init__(self, rng):
        super().__init__()
        self.kind = rng.choice(sorted(SHAPES))
        self.inputs, self.container = rng.choice(INPUTS), rng.choice(sorted(CONTAINERS))
        self.third, self.made_of = rng.choice(HEADS), []
        self.stages = nn.ModuleList()
        x = torch.zeros(3, *SHAPES[self.kind])
        self.stem = layer(x.dim(), x.shape[1], rng.choice((6, 8, 10)))
        self.side = nn.Linear(5, self.stem(x).shape[1]) if self.inputs != "one" else None
        h = self.stem(x)
        names = rng.choices(sorted(STAGES), k=rng.randint(1, 3)) + rng.choices(
            sorted(DECORATIONS), k=rng.randint(1, 2)
        )
        rng.shuffle(names)
        for name in names:
            if h.dim() == 2 and rng.random() < 0.15:
                h = self._add("unflattened", Unflattened(rng, 2, h.shape[1]), h, x)
            h = self._add(name, (STAGES | DECORATIONS)[name](rng, h.dim(), h.shape[1]), h, x)
            if h.dim() > 2 and rng.random() < 0.1:
                h = self._add("flattened", Flattened(rng, h.shape), h, x)
        if h.dim() > 2:
            h = self._add("flattened", Flattened(rng, h.shape), h, x)
        self.scores, self.boxes = nn.Linear(h.shape[1], 5), nn.Linear(h.shape[1], 4)
        wide = 19 if self.third == "unrun, wide" else h.shape[1]
        self.extra = None if self.third == "none" else nn.Linear(wide, 3)

    def _add(self, name, stage, h, x):
        self.stages.append(stage)
        self.made_of.append(f"{name} {getattr(stage, 'kind', '')}".strip())
        with torch.no_grad():
            return stage(h, x)

    def features(self, x, side=None):
        h = self.stem(x)
        if side is not None:
            h = h + self.side(side).view(len(side), -1, *[1] * (h.dim() - 2))
        for stage in self.stages:
            h = stage(h, x)
        return h

    def embed(self, x, side=None):
        return self.extra(self.features(x, side))

    def forward(self, x, side=None):
        if isinstance(x, dict):
            x, side = x["x"], x["side"]
        h = self.features(x, side)
        out = CONTAINERS[self.container](self.scores(h), self.boxes(h))
        return (out, self.extra(h)) if self.training and self.third == "train" else out


@dataclass(frozen=True)
class Draw:
    """A module, what it is called with, and how it is to be pruned."""

    model: Drawn
    inputs: tuple | dict
    also: tuple
    options: dict
    context: str

    def __str__(self) -> str:
        m = self.model
        parts = (m.kind, m.inputs, m.container, f"third head {m.third}", *m.made_of, self.context)
        return ", ".join((*parts, str(self.options)))


CONTEXTS = (*["plain"] * 4, "autocast", "inference", "no_grad", "float64 default", "parallel", "distributed")
CONTEXTS += ("wrapped", "meta")


def called_with(model, samples, dtype, shift=0.0, scale=1.0):
    """Return inputs of a module: a tuple of arguments, or keywords."""
    x = scale * torch.randn(samples, *SHAPES[model.kind], dtype=dtype) + shift
    side = torch.randn(samples, 5, dtype=dtype)
    forms = {"one": (x,), "two": (x, side), "keywords": {"x": x, "side": side}}
    return forms.get(model.inputs, ({"x": x, "side": side},))


def drawn(seed):
    """Return the draw of a seed, the same each time."""
    rng = random.Random(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Drawn(rng).eval()
        randomise_(model)
        for module in model.modules():  # as it was before its first forward
            if hasattr(module, "calls") and isinstance(module.calls, int):
                module.calls = 0
        context = rng.choice(CONTEXTS)
        dtype = torch.float32 if context == "autocast" or rng.random() < 0.2 else torch.float64
        model.to(dtype)
        inputs = called_with(model, rng.choice((2, 3)), dtype)
        also = ()
        if model.third == "method":
            also = (("embed", tuple(inputs[0].values()) if model.inputs == "batch" else inputs),)
    options = {
        "ratio": rng.choice((0.2, 0.4, 0.5, 0.7)),
        "criterion": rng.choice(("random", "l1_norm")),
        "seed": seed,
        **rng.choice(({}, {}, {}, {"allocation": "global"}, {"round_to": 2})),
    }
    if model.third.startswith("unrun") and rng.random() < 0.5:
        options["unrun"] = "ignore"
    return Draw(model, inputs, also, options, context)

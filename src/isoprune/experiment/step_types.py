"""The steps of a recipe as frozen data, by kind, and their parts: trainings, targets of pruning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from isoprune.experiment.choice import Chain, Choice
from isoprune.experiment.validation import FINITE, plain
from isoprune.types.training_options import OptimizerName, check_distill

AUTO = "auto"

MOST = 2**63 - 1  # what torch, and a column of numbers, can hold
Whole = Annotated[int, Meta(ge=0, le=MOST)]
Count = Annotated[int, Meta(ge=1, le=MOST)]
Seed = Whole
Epochs = Annotated[int, Meta(ge=0, le=10**6)]  # a list has each of them
Rounds = Annotated[int, Meta(ge=1, le=10**4)]
Points = Annotated[int, Meta(ge=3, le=10**4)]  # both ends and what is between them
Bits = Annotated[int, Meta(ge=1, le=8)]
Fraction = Annotated[float, Meta(ge=0, lt=1)]
Share = Annotated[float, Meta(gt=0, le=1)]
ProbeShare = Annotated[float, Meta(ge=0, le=1)]
Ratio = Annotated[
    float, Meta(ge=0, lt=1, extra={"hint": "It is the fraction that is removed: 0.8 keeps a fifth."})
]
NotNegative = Annotated[float, Meta(ge=0, le=FINITE)]
Positive = Annotated[float, Meta(gt=0, le=FINITE)]


class Distilling(Struct, frozen=True, forbid_unknown_fields=True):
    """How much of the loss comes from the dense network's outputs, and at which temperature."""

    weight: float
    temperature: float

    def __post_init__(self) -> None:
        # The message begins where the key's name ends, as `validation` reads it.
        check_distill(self.weight, self.temperature, key="")


class TrainingConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How a network is trained: by SGD with momentum, as the paper's code, or by AdamW.

    ``lr`` "auto" is the rate that `verbs.advise` recommends for this network and budget, by probes of
    ``probe_share`` of the steps each; 0: the middle rate, unprobed; none: as long as `verbs.advise` has them.

    Of AdamW ``momentum`` is the first of its betas and ``weight_decay`` decoupled, as `training.Training` has
    it. ``steps`` ends it after so many of them, to which the schedule then runs; none: after ``epochs``.
    ``jsv_samples`` is the number of fixed samples of the mean JSV after each epoch; 0: not measured.
    ``precision`` to ``average`` are those of `training.Loop`; ``distill`` is for retraining: to learn from
    the dense network; ``penalty`` is added to the loss. The last three change no result and no digest.
    """

    epochs: Epochs
    lr: Positive | Literal["auto"] | None = None
    schedule: Choice = Choice("constant")
    steps: Count | None = None
    batch: Count = 100
    optimizer: OptimizerName = "sgd"
    momentum: Fraction = 0.9
    weight_decay: NotNegative = 1e-4
    jsv_samples: Whole = 64
    precision: Literal["full", "bf16"] = "full"
    accumulate: Count = 1
    channels_last: bool = False
    compile: bool = False
    clip: Positive | None = None
    sync_batchnorm: bool = False
    nesterov: bool = False
    label_smoothing: Fraction = 0.0
    average: Fraction = 0.0
    distill: Distilling | None = None
    penalty: Choice | None = None
    probe_share: ProbeShare | None = None
    trackers: tuple[str, ...] = ()
    checkpoint_steps: Count | None = None
    checkpoint_seconds: NotNegative = 60.0


class Pruning(Struct, frozen=True, forbid_unknown_fields=True):
    """What goes: by which scores, and how much of it.

    One of ``ratio``, the fraction of each group's units that goes (or patterns of their names ->
    fractions, as `make_plan`), and ``flops`` and ``parameters``, the fraction that may stay. ``scope``
    "internal" leaves residual sums whole; ``allocation`` "global" lets all units compete, and no group
    then loses more than ``cap``, "erk" (not of channels) goes by the shapes of tensors; ``floor`` units stay
    at least; kept channels are rounded up to a multiple of ``round_to``. Units of the ``grain`` "channel"
    are physically gone, others, and channels with ``mask``,
    are held at zero by masks.

    ``train`` trains the network before anything goes: with a penalty that pushes out the channels that the
    network's scores choose, or without one, and then the trained network's scores choose.
    """

    ratio: Ratio | dict[str, Ratio] | None = None
    flops: Share | None = None
    parameters: Share | None = None
    criterion: Choice = Choice("l1_norm")
    grain: str = "channel"
    mask: bool = False
    scope: Literal["all", "internal"] = "all"
    allocation: Literal["uniform", "global", "error", "erk"] = "uniform"
    round_to: Count = 1
    floor: Count = 1
    cap: Fraction = 0.9
    train: TrainingConfig | None = None


class Measuring(Struct, frozen=True, forbid_unknown_fields=True):
    """How finely each network is measured: samples of the JSV, bins of their histogram.

    ``measures`` are taken of every network that is about to be retrained: "all", or those of a list, on so
    many ``batches`` of training data (none: all of it). ``barrier`` and ``instability`` are how many points a
    line has on which the error of every network is measured that was retrained (none: not measured); see
    `experiment.error_paths`.
    """

    samples: Count = 64
    bins: Count = 40
    measures: tuple[Choice, ...] | Literal["all"] = ()
    batches: Count | None = None
    barrier: Points | None = None
    instability: Points | None = None


class Train(TrainingConfig, frozen=True, tag="train", tag_field="kind"):
    """The training of the network as it is drawn, or as its weights were given."""

    role: str = "dense"


class Prune(Pruning, frozen=True, tag="prune", tag_field="kind"):
    """Units go."""

    role: str = "pruned"


class Repair(Struct, frozen=True, forbid_unknown_fields=True, tag="repair", tag_field="kind"):
    """A repair, or a list of them."""

    method: Chain
    role: str = "repaired"


class Rewind(Struct, frozen=True, forbid_unknown_fields=True, tag="rewind", tag_field="kind"):
    """What stays gets the weights that it had after an epoch of the (last) dense training."""

    epoch: Whole
    role: str = "rewound"


class Cluster(Struct, frozen=True, forbid_unknown_fields=True, tag="cluster", tag_field="kind"):
    """The weights of each layer become a few shared numbers, which a retraining then trains."""

    conv_bits: Bits = 8
    linear_bits: Bits = 5
    role: str = "clustered"


class Retrain(TrainingConfig, frozen=True, tag="retrain", tag_field="kind"):
    """The training of a network that was pruned."""

    role: str = "retrained"


class Repeat(Struct, frozen=True, forbid_unknown_fields=True, tag="repeat", tag_field="kind"):
    """Steps that are done round after round, each round on what the last one left.

    ``cadence`` says how much of what is left goes in each round, in place of the ratio of its prune step.
    """

    rounds: Rounds
    steps: tuple[Prune | Repair | Rewind | Retrain | Train, ...]
    cadence: Choice | None = None


Single = Train | Prune | Repair | Rewind | Cluster | Retrain
Step = Single | Repeat


def kind_of(step: Step) -> str:
    """Return what a file writes as its ``kind``."""
    return str(step.__struct_config__.tag)


def usual_role(step: Single) -> str:
    """Return the role of the network that a step of this kind makes, unless it is given another."""
    return type(step).__struct_defaults__[-1]


def step_dict(step: Step) -> dict[str, Any]:
    """Return a step as plain JSON; of a training without epochs nothing else: no one reads it."""
    facts = plain(step)
    for training in (facts, facts.get("train")):
        if isinstance(training, dict) and training.get("epochs") == 0:
            for key in training.keys() - {"kind", "role", "epochs"}:
                del training[key]
    if isinstance(step, Repeat):
        facts["steps"] = [step_dict(inner) for inner in step.steps]
    return facts

"""The record: all that is known of one finished run. Reports see nothing else. Loads without torch."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from msgspec import Meta, Struct

from isoprune.types.shown import screenful, shown

VERSION = 2

ROLES = ("dense", "pruned", "repaired", "retrained")  # the usual ones, in their order; a step may name others


Row = dict[str, float | int | None]  # of an epoch: None where a number is not finite
Name = Annotated[str, Meta(pattern=r"^[\w-]+$")]  # of a folder: no slash or dot can lead out of its parent


class Histogram(Struct, frozen=True, forbid_unknown_fields=True):
    """Counts of log10 of singular values: ``edges`` are one more than ``counts``."""

    edges: list[float]
    counts: list[int]

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.counts) + 1:
            raise ValueError(f"a histogram has {len(self.edges)} edges of {len(self.counts)} counts")


class TrainingCost(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a training took: samples seen, multiply-adds (a teacher's and all probes' included)."""

    samples: int
    multiply_adds: int
    distillation: dict[str, float] | None = None


class MeasureRecord(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a measure says of a network: numbers by name, None where not finite; or why it says nothing."""

    numbers: dict[str, float | None] = {}
    seconds: float = 0.0
    refused: str = ""


class ErrorPath(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The error on a straight line to the network that it belongs to; None where it is not finite.

    ``start`` is the network at its other end; None: a copy that was trained for this line alone.
    ``errors`` are at equal distances, both ends included: 1 minus ``metric``, or a ``loss`` as it is.
    ``barrier`` and ``above_line`` are those of `isoprune.error_path`. ``samples``: what the training of such
    a copy saw. ``refused``: why there is no line; then there are no numbers.
    """

    start: Name | None = None
    metric: str = ""
    loss: bool = False
    errors: list[float | None] = []
    barrier: float | None = None
    above_line: float | None = None
    samples: int = 0
    refused: str = ""


class NetworkRecord(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One network on the way, with its role; ``step`` is the place of the step that made it, 0 the first.

    ``round`` counts the rounds of a repeated part from 1; 0 where nothing is repeated. ``metrics`` are
    fractions of 1 (accuracy, ...) and losses in nats, by names such as "test_accuracy". ``nonzero`` counts
    the parameters that no mask holds at zero. ``flops``: multiply-adds of one sample. ``coded_bytes``: of the
    file that `isoprune.compress` writes, where weights are shared. ``peak_memory``: bytes by which the
    process grew at most while the network was made; None where the system does not tell. ``measures``: by
    name, of a network that was retrained next. Of a network that was retrained, ``barrier``: from the end of
    the training before it; ``instability``: from a copy that was retrained in another order of samples.
    """

    role: str
    step: int
    digest: Name
    round: int = 0
    parameters: int
    nonzero: int
    flops: int
    coded_bytes: int | None = None
    metrics: dict[str, float | None]  # None: not finite, which JSON does not have
    jsv: dict[str, float | None] = {}
    jsv_histogram: Histogram | None = None
    history: list[Row] = []
    seconds: float = 0.0
    peak_memory: int | None = None
    training: TrainingCost | None = None
    advice: dict[str, Any] | None = None
    measures: dict[str, MeasureRecord] = {}
    barrier: ErrorPath | None = None
    instability: ErrorPath | None = None

    def __post_init__(self) -> None:
        if not all(type(row.get("epoch")) is int for row in self.history):
            raise ValueError("a row of a history has no epoch")
        if self.advice is not None and type(self.advice.get("lr")) not in (int, float):
            raise ValueError("an advice has no lr")


class UnitsRemoved(Struct, frozen=True, forbid_unknown_fields=True):
    """How many units of one name there were, and how many went."""

    name: str
    size: int
    removed: int


class Removal(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one pruning step removed, against the dense network: ``ratios`` are fractions that went.

    ``ratios`` has "units", "filters", "parameters" and "flops"; ``request`` is what was asked for, as it was
    asked; ``proof`` the largest difference from the dense network with those units zeroed.
    """

    step: int
    round: int = 0
    grain: str = "channel"
    request: dict[str, Any] = {}
    ratios: dict[str, float]
    units: list[UnitsRemoved] = []
    proof: dict[str, float | None] = {}


class Timed(TypedDict):
    """How long a forward of one network takes on one backend; ``problem``: why there is no time."""

    model: str
    backend: str
    median_ms: float | None
    lower_ms: float | None
    upper_ms: float | None
    runs: int
    gain: float | None
    flops_gain: float | None
    of_flops_gain: float | None
    problem: str


@shown
class Record(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One finished run.

    ``config`` is resolved: "seed", "data", "model", and "dense", "prune", "repair", "retrain" or "steps".
    ``labels``: a method's name in ``config`` -> how tables call it, of those whose `@method` has a label.
    ``seconds``: of what made no network ("measure"); a network has its own.
    """

    version: int = VERSION
    digest: Name
    status: str = "done"
    name: str
    config: dict[str, Any]
    labels: dict[str, str] = {}
    environment: dict[str, Any] = {}
    networks: list[NetworkRecord] = []
    removals: list[Removal] = []
    trainability_accuracy: float | None = None  # of the last retraining, over its epochs at the first rate
    seconds: dict[str, float] = {}
    latency: list[Timed] = []

    def __str__(self) -> str:
        rows = [
            f"{n.role}  {n.nonzero:,} parameters, {n.flops:,} multiply-adds"
            + "".join(f", {name} {v:.4g}" for name, v in n.metrics.items() if v is not None)
            for n in self.networks
        ]
        return screenful(f"Record {self.digest} of {self.name}: {self.status}", rows, "record.networks")

    def network(self, role: str) -> NetworkRecord | None:
        """Return the last network of a role: of rounds that of the last one."""
        return next((n for n in reversed(self.networks) if n.role == role), None)

    @property
    def total_seconds(self) -> float:
        """All that the run took; what it shares with others counted in full."""
        return sum(network.seconds for network in self.networks) + sum(self.seconds.values())

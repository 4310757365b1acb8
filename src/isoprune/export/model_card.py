"""A model card: what was pruned of a network and how, as the README.md that goes with it to a hub."""

from __future__ import annotations

from collections.abc import Iterator

import isoprune
from isoprune.pruning import Pruned
from isoprune.pruning.summary import cost_table, units_in_words
from isoprune.types.record import Record
from isoprune.types.tables import Table, markdown
from isoprune.types.units import counted

_CITATION = """\
@inproceedings{wang2021dynamical,
  title = {Dynamical Isometry: The Missing Ingredient for Neural Network Pruning},
  author = {Wang, Huan and Qin, Can and Bai, Yue and Fu, Yun},
  year = {2021},
  note = {arXiv:2105.05916}
}"""


def model_card(pruned: Pruned, record: Record | None = None) -> str:
    """Return the text of a README.md: ratio, method, sizes, accuracies, proof, how to load, citation.

    Put it beside what ``save_pretrained`` wrote and upload the folder, or give it to
    ``huggingface_hub.ModelCard``.

    Args:
        pruned: The network, as it is now.
        record: Of the experiment that made it: its accuracies. Without one the card says that none is known.
    """
    kind = type(pruned.model)
    library = "transformers" if kind.__module__.startswith("transformers.") else "pytorch"
    head = ["---", f"library_name: {library}", "tags:", "- pruning", "- isoprune", "---", ""]
    return "\n".join(
        [
            *head,
            f"# {kind.__name__}, pruned\n",
            f"Made by [isoprune](https://arxiv.org/abs/2105.05916) {isoprune.__version__}.\n",
            markdown(cost_table(pruned)),
            *(f"{sentence}." for sentence in units_in_words(pruned)),
            "\n## Method\n",
            *_steps(pruned),
            "\n## Accuracy\n",
            *_accuracies(record),
            "\n## Proof\n",
            f"When its {counted(pruned.plan.grain)} went, this network was compared with the dense one in "
            f"which they are zero: off by {pruned.proof.relative_error:.1g} of the output's scale.",
            *(f"- {trial}" for trial in pruned.proof.trials),
            "\n## Loading\n",
            _loading(pruned, library),
            "\n## Citation\n",
            f"```bibtex\n{_CITATION}\n```\n",
        ]
    )


def _steps(pruned: Pruned) -> Iterator[str]:
    for number, entry in enumerate(pruned.history, 1):
        request = entry.get("request", {})
        said = [f"{key}={value}" for key, value in {**entry, **request}.items() if _is_plain(key, value)]
        yield f"{number}. {entry['step']}" + (f" ({', '.join(said)})" if said else "")


def _is_plain(key: str, value: object) -> bool:
    return key not in ("step", "config", "request") and isinstance(value, str | int | float | dict)


def _accuracies(record: Record | None) -> Iterator[str]:
    if record is None:
        yield "None was measured with this network's record."
        return
    names = list(dict.fromkeys(name for n in record.networks for name in n.metrics))
    yield f"Of the run {record.digest} ({record.name}):\n"
    values = [(n.role, *(n.metrics.get(name) for name in names)) for n in record.networks]
    rows = [(role, *("–" if v is None else f"{v:.4g}" for v in own)) for role, *own in values]
    yield markdown(Table(("network", *names), tuple(rows)))


def _loading(pruned: Pruned, library: str) -> str:
    kind = type(pruned.model)
    if library == "transformers" and pruned.history and pruned.history[-1].get("config") == "follows":
        return f"```python\nmodel = transformers.{kind.__name__}.from_pretrained(FOLDER)\n```"
    return (
        "```python\nmodel = isoprune.load(FOLDER, build=make_dense)  # make_dense makes the "
        f"{kind.__name__} that was pruned\n```"
    )

"""transformers' Trainer: a callback that prunes at an epoch, or in rounds, and holds the masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save

from isoprune.integrations.rounds import Rounds
from isoprune.types import IsopruneError
from isoprune.types.errors import MissingPackage
from isoprune.types.files import write_atomic

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise MissingPackage("transformers is not installed: pip install 'isoprune[zoo]'") from error

FILE = "isoprune.safetensors"


class Prune(Rounds, TrainerCallback):
    """Prune in `Trainer(..., callbacks=[Prune(0.5, begin=1, example_inputs=...)])`; arguments as in `Rounds`.

    Each checkpoint folder gets a file beside the weights, and ``train(resume_from_checkpoint=...)`` goes on
    from it: the same masks, the rounds that are left. With ``load_best_model_at_end``, best counts from the
    last round on.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:  # noqa: ARG002
        if state.global_step:
            self._resume_from(args, state)
        self.start_(model, state.num_train_epochs if args.max_steps <= 0 else None)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:  # noqa: ARG002
        before = self.done
        self.advance_(model, int((state.epoch or 0) + 1e-6))
        if self.done > before:
            state.best_metric = state.best_model_checkpoint = state.best_global_step = None

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if state.is_world_process_zero:
            kept, facts = self.state()
            content = save(kept, {"rounds": json.dumps(facts)})
            write_atomic(Path(args.output_dir) / f"checkpoint-{state.global_step}" / FILE, content)

    def on_train_end(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:  # noqa: ARG002
        self.end_(model)

    def _resume_from(self, args: Any, state: Any) -> None:
        folders = [Path(args.output_dir) / f"checkpoint-{state.global_step}"]
        if isinstance(args.resume_from_checkpoint, str):
            folders.insert(0, Path(args.resume_from_checkpoint))
        file = next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)
        if file is None:
            if self.due(int(state.epoch or 0)):
                raise IsopruneError(
                    f"{folders[0]} has no {FILE}, so which units are held at zero is not known. Give a "
                    "folder outside output_dir to TrainingArguments(resume_from_checkpoint=...) too; where "
                    "there was no callback, set begin= to a later epoch."
                )
            return
        with safe_open(file, "pt") as read:
            kept = {name: read.get_tensor(name) for name in read.keys()}  # noqa: SIM118
            self.resume(kept, json.loads(read.metadata()["rounds"]))

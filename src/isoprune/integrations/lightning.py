"""Lightning: a callback that prunes at an epoch, or in rounds, and holds the masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from isoprune.integrations.rounds import Rounds
from isoprune.types.errors import MissingPackage

try:
    from pytorch_lightning import Callback
except ImportError:
    try:
        from lightning.pytorch import Callback  # pyright: ignore
    except ImportError as error:
        raise MissingPackage("Lightning is not installed: pip install 'isoprune[lightning]'") from error


@dataclass(eq=False)
class Prune(Rounds, Callback):  # pyright: ignore[reportGeneralTypeIssues]  one of two bases
    """Prune in `Trainer(callbacks=[Prune(0.8, begin=2, rounds=3)])`; arguments as in `Rounds`.

    Without ``example_inputs`` those are the module's ``example_input_array``. ``network`` names the part of
    the module that is pruned, such as "backbone"; "" is all of it. Checkpoints have what is needed to go on
    (``trainer.fit(..., ckpt_path=...)``): a resumed training holds the same masks and does the rounds left.
    """

    network: str = ""

    def _part(self, module: Any) -> nn.Module:
        return module.get_submodule(self.network)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if self.example_inputs is None and not self.network:
            self.example_inputs = pl_module.example_input_array
        # Not when the checkpoint is read: the optimizer counts its parameters in the order without masks.
        self.start_(self._part(pl_module), trainer.max_epochs if (trainer.max_epochs or -1) > 0 else None)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.advance_(self._part(pl_module), trainer.current_epoch)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        self.end_(self._part(pl_module))

    def state_dict(self) -> dict[str, Any]:
        kept, facts = self.state()
        return {"kept": kept, **facts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.resume(state_dict["kept"], state_dict)

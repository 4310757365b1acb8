"""The processes that train together, as accelerate knows them: one, or several by `accelerate launch`."""

from __future__ import annotations

import atexit
import contextlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.types import IsopruneError
from isoprune.types.network import device_of


@dataclass(frozen=True)
class Processes:
    """This process and its peers: ``rank`` of ``count``, and the device that it computes on."""

    accelerator: Any
    device: torch.device
    rank: int
    count: int

    @property
    def main(self) -> bool:
        return self.rank == 0

    def pieces(self, batch: Tensor, most: int) -> tuple[list[Tensor], list[float]]:
        """Return this process's slice of a batch in at most ``most`` pieces, and what each one's mean counts.

        Every process has as many. If there are fewer samples than pieces, one is borrowed and counts
        nothing. The mean over processes of the weighted means is the mean of the batch.
        """
        if self.count == most == 1:
            return [batch], [1.0]
        mine = batch.tensor_split(self.count)[self.rank] if self.count > 1 else batch
        parts = mine.tensor_split(min(most, -(-len(batch) // self.count)))
        weights = [len(part) * self.count / len(batch) for part in parts]
        return [part if len(part) else batch[:1] for part in parts], weights

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum over all processes."""
        return self.accelerator.reduce(tensor, reduction="sum") if self.count > 1 else tensor

    def from_main(self, make: Callable[[], Any]) -> Any:
        """Return on all processes what ``make`` returns on the main one; its IsopruneError too."""
        if self.count == 1:
            return make()
        from accelerate.utils import broadcast_object_list

        message: list[Any] = [None, None]
        if self.main:
            try:
                message[0] = make()
            except IsopruneError as error:
                message[1] = error
        value, error = broadcast_object_list(message)
        if error is not None:
            raise error
        return value

    def share_(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes the main one's values."""
        if self.count > 1:
            from accelerate.utils import broadcast

            for tensor in tensors:
                tensor.copy_(broadcast(tensor.detach().clone()))

    def prepared(self, model: nn.Module) -> nn.Module:
        """Return ``model`` so that its backward pass averages gradients over the processes."""
        return self.accelerator.prepare_model(model) if self.count > 1 else model

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Suppress DDP's warning that no parameter was unused."""
        if self.count == 1:
            yield
            return
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")
            yield

    def without_sync(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """Return a context in which gradients are added up in this process only."""
        return self.accelerator.no_sync(model)


def check_alone() -> None:
    """Raise IsopruneError if a launcher started several processes where each would do all of the work."""
    count = os.environ.get("WORLD_SIZE", "1")
    if count.isdigit() and int(count) > 1:
        raise IsopruneError(
            f"A launcher started {count} processes, and an experiment runs in one: all would wait for the "
            "first one's place in the store. Start it without the launcher, or retrain in a script."
        )


def _part() -> None:
    """End the threads by which processes met: one that is alive when the interpreter is gone aborts it."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def join(model: nn.Module, **options: Any) -> Processes:
    """Return this process among those that `accelerate launch` started, or alone.

    A network on the CPU is trained where accelerate says: on the GPU if there is one, on the CPU if not or if
    ``ACCELERATE_USE_CPU`` is set. A single process leaves a network elsewhere where it is.

    Raises:
        IsopruneError: If accelerate was told a precision: that is a choice of each training.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    met = torch.distributed.is_available() and torch.distributed.is_initialized()
    # Parameters that no loss reads get no gradient, as in one process; the second step would fail without it.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(kwargs_handlers=[unused], **options)
    if accelerator.mixed_precision != "no":
        raise IsopruneError(
            f"accelerate was started with mixed precision {accelerator.mixed_precision!r}, and precision is "
            'a choice of each training here. Start it with --mixed_precision no, and give precision = "bf16".'
        )
    if accelerator.num_processes > 1 and not met:
        atexit.register(_part)
    here = device_of(model)
    doubles = any(p.dtype == torch.float64 for p in model.parameters())
    device = accelerator.device
    if accelerator.num_processes == 1 and (here.type != "cpu" or (device.type == "mps" and doubles)):
        device = here  # Apple's GPUs have no float64.
    return Processes(accelerator, device, accelerator.process_index, accelerator.num_processes)

"""The control: the pruned shape trained from scratch."""

from __future__ import annotations

import torch
from torch import Generator, nn

from isoprune.graph.cloning import copied
from isoprune.methods.layers.stored import write_
from isoprune.pruning.mask import harden
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method
from isoprune.types.seeded import lent_generators
from isoprune.types.units import DEPTH, GRAINS


# It draws anew and does not look at the weights, so permuting them changes nothing.
@method("repair", grains=(*GRAINS, DEPTH), follows_order=False)
def scratch(pruned: Pruned, signals: Signals, *, generator: Generator) -> nn.Module:
    """Return a network of the pruned shape with freshly drawn weights: what the kept weights are worth.

    Every module draws by its own ``reset_parameters`` (torch's default scheme; BatchNorm to scale 1, shift 0,
    fresh statistics), children before parents as at construction. The draw depends on the generator alone,
    not on the device: it is made on the CPU and copied.

    Cost: a draw of every weight. Memory: two copies of the network.

    Raises:
        IsopruneError: If a parameter belongs to a module without ``reset_parameters``, which would keep it
            trained.
    """
    drawn = harden(copied(pruned.model)).cpu()
    modules = dict(drawn.named_modules())
    kept = [
        f"{name}.{parameter}".lstrip(".")
        for name, module in modules.items()
        if _reset(module) is None
        for parameter, _ in module.named_parameters(recurse=False)
    ]
    if kept:
        raise IsopruneError(
            f"Cannot draw {', '.join(kept)} afresh: the module has no reset_parameters method. Give it one "
            "that draws its parameters, or build the network of this shape anew and train that."
        )
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with lent_generators(seed), torch.no_grad():
        for module in reversed(modules.values()):
            if (reset := _reset(module)) is not None:
                reset()
    result = copied(pruned.model)
    for name, target in result.named_modules():
        source = modules.get(name)  # None: of a mask
        if source is not None:
            for key, buffer in source.named_buffers(recurse=False):
                if not key.endswith("_mask"):
                    target.get_buffer(key).copy_(buffer)
            for key, _ in source.named_parameters(recurse=False):
                attribute = key.removesuffix("_orig")
                write_(target, attribute, getattr(source, attribute))
    return result


def _reset(module: nn.Module):
    # MultiheadAttention and Transformer spell it with an underscore.
    return getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)

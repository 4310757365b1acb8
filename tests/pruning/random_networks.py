"""Random small networks out of `blocks` and `mixing_blocks`.

A draw is plain data: a list of (block, two small integers), a ratio, options. `Drawn` builds the network
from it; a block that does not fit the shape it meets is left out.
"""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import nn

from pruning.blocks import Misfit
from pruning.mixing_blocks import BLOCKS


class Drawn(nn.Module):
    """A stem, the drawn blocks, a head over pooled or flattened channels."""

    def __init__(self, draw):
        super().__init__()
        self.draw = repr(draw)
        x = torch.zeros(2, 3, 4, 4)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        x = old = self.stem(x)
        self.blocks = nn.ModuleList()
        for name, a, b in draw["blocks"]:
            try:
                block = BLOCKS[name](tuple(x.shape), tuple(old.shape), a, b)
            except Misfit:
                continue
            with torch.no_grad():
                new = block.eval()(x, old)
            x, old = new, (x if b % 2 == 0 else old)
            self.blocks.append(block)
        self.flat = draw["flat"]
        self.head = nn.Linear(x[0].numel() if self.flat else x.shape[1], 5)

    def forward(self, x):
        x = old = self.stem(x)
        for block in self.blocks:
            x, old = block(x, old), (x if block.b % 2 == 0 else old)
        return self.head(x.flatten(1) if self.flat else x.mean((2, 3)))


draws = st.fixed_dictionaries(
    {
        "blocks": st.lists(
            st.tuples(st.sampled_from(sorted(BLOCKS)), st.integers(0, 5), st.integers(0, 3)),
            min_size=1,
            max_size=7,
        ),
        "flat": st.booleans(),
        "ratio": st.sampled_from([0.2, 0.4, 0.5, 0.7, 0.9]),
        "seed": st.integers(0, 9999),
        "options": st.sampled_from(
            [{}, {}, {}, {"round_to": 2}, {"scope": "internal"}, {"allocation": "global"}]
        ),
    }
)

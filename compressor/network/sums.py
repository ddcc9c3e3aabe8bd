"""The sum of two results of integer layers, as runtimes have a kernel for it."""

from __future__ import annotations

from torch import Tensor

from compressor.counting.stored import Integral
from compressor.network.grid import Grid, wide


class IntSum(Integral):
    """The sum of two values on grids, rounded to a third: `grids` of the terms and of the sum."""

    def __init__(self, grids: tuple[Grid, ...]) -> None:
        super().__init__()
        self.grids = grids

    def forward(self, x: Tensor, y: Tensor, *scales: Tensor) -> Tensor:
        """Add `x` on the first grid and `y` on the second, shapes that broadcast; scales () each.

        A kernel's own form, with unsigned steps: ``x * (s_x / s) + (y * (s_y / s) + rest)``, each
        product and addition rounded to single precision once (in double precision here, in which
        the product is exact).

        Returns:
            float32, whole steps of the third scale, not yet limited to its grid.
        """
        zeros = [float(grid.zero - (-128 if grid.low < 0 else 0)) for grid in self.grids]
        ratios = [scale / scales[2] for scale in scales[:2]]
        total = zeros[2] - (ratios[0] * zeros[0] + ratios[1] * zeros[1])
        for value, n in ((y, 1), (x, 0)):
            steps = (wide(value) / scales[n]).round_().add_(zeros[n]).double()
            total = steps.mul_(ratios[n].double()).add_(total.double()).float()
        return total.round_().sub_(zeros[2]).mul_(scales[2])

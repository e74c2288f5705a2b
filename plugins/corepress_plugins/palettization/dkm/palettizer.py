"""Differentiable k-means under the name of the reference documentation."""

from typing import ClassVar

from corepress.algorithm import Simulator
from corepress.pipeline import BoundCompressor
from corepress_plugins.palettization.dkm.simulator import PaletteSimulator


class DKMPalettizer(BoundCompressor):
    """Palettize a model while it trains: `prepare`, `step` in the loop, `finalize`.

    Without a single `step`, `finalize` palettizes the weights as they are; so does `compress`.
    """

    algorithm: ClassVar[str] = "dkm"

    def enable_fake_palett(self, flag: bool) -> None:
        """Show weights as if palettized from now on (True), or as they are (False), whatever the milestone says.

        Saved states do not keep it. Weights are palettized by `finalize` in any case.

        Raises:
            StateError: there is no prepared model.
        """

        def switch(simulator: Simulator) -> None:
            if isinstance(simulator, PaletteSimulator):
                simulator.enabled = bool(flag)

        self.pipeline.adjust(switch)

"""Which tokens an autoencoder sees: a random order for each image, of which the head is kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightvit_bench.errors import ConfigError
from lightvit_bench.vit.patches import take_tokens


@dataclass(frozen=True)
class Masking:
    """Visible and hidden units (patches, or a hierarchical encoder's mask units) of each image.

    Attributes:
        keep: (B, K), indices of the visible units, in the order drawn.
        hide: (B, L - K), those of the hidden units.
        restore: (B, L), the place of each unit, in raster order, in `keep` followed by `hide`.
    """

    keep: Tensor
    hide: Tensor
    restore: Tensor

    @classmethod
    def of(cls, order: Tensor, kept: int) -> Masking:
        """The masking that keeps the first `kept` units of an order (B, L)."""
        return cls(order[:, :kept], order[:, kept:], order.argsort(dim=1))

    @property
    def hidden(self) -> Tensor:
        """(B, L), True where a unit is hidden, in raster order."""
        return self.restore >= self.keep.shape[1]

    def ascending(self) -> Masking:
        """The same units, visible and hidden ones each in raster order."""
        keep, hide = self.keep.sort(dim=1).values, self.hide.sort(dim=1).values
        return Masking.of(torch.cat([keep, hide], dim=1), keep.shape[1])

    def unshuffle(self, visible: Tensor, mask_token: Tensor) -> Tensor:
        """Visible tokens (B, K, D), and a mask token in place of each hidden one: (B, L, D)."""
        batch, _, width = visible.shape
        filled = mask_token.to(visible.dtype).expand(batch, self.hide.shape[1], width)
        return take_tokens(torch.cat([visible, filled], dim=1), self.restore)


def random_order(
    batch: int, units: int, *, device: torch.device | None = None, generator=None
) -> Tensor:
    """A uniformly random order of `units` for each image (B, L): the argsort of uniform noise."""
    return torch.rand(batch, units, device=device, generator=generator).argsort(dim=1)


def kept_units(units: int, ratio: float) -> int:
    """How many of `units` stay visible at a masking ratio: int(units * (1 - ratio)), as in MAE.

    Raises:
        ConfigError: none would stay visible, or none be hidden.
    """
    kept = int(units * (1 - ratio))
    if not 0 < kept < units:
        what = "hides every token" if kept <= 0 else "hides no token"
        raise ConfigError(
            f"a masking ratio of {ratio} {what} of {units}.",
            set=f"--cfg-options model.mask_ratio=..., between {1 / units:.3f} and "
            f"{1 - 1 / units:.3f}",
        )
    return kept

"""The network computed by PyTorch, for the tracker."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lightvit_bench.checkpoint.manifest import IMAGENET_MEAN, IMAGENET_STD
from lightvit_bench.tracking.answers import ArrayMaps, FromMaps, Settings
from lightvit_bench.tracking.network import OneStreamTracker


class TorchModel(FromMaps):
    """A `tracker.Model` on PyTorch; it keeps nothing between calls.

    Args:
        network: put into eval mode on the device.
        image_mean, image_std: per RGB channel, for pixels from 0 to 1.
        device: "cpu", or any other of torch's.
    """

    def __init__(
        self,
        network: OneStreamTracker,
        settings: Settings | None = None,
        *,
        image_mean: tuple[float, ...] = IMAGENET_MEAN,
        image_std: tuple[float, ...] = IMAGENET_STD,
        device: str = "cpu",
    ):
        self.network = network.float().eval().to(device)
        self.spec = network.spec
        self.settings = settings or Settings()
        self._device = device
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32).view(3, 1, 1).to(device)
            for values in (image_mean, image_std)
        )

    @property
    def name(self) -> str:
        """As "PyTorch 2.13.0, fp32, 2 threads"."""
        version, threads = torch.__version__.split("+")[0], torch.get_num_threads()
        where = f"{threads} thread" + "s" * (threads > 1) if self._device == "cpu" else self._device
        return f"PyTorch {version}, fp32, {where}"

    def _pixels(self, patch: np.ndarray) -> Tensor:
        """(S, S, 3) uint8 -> (1, 3, S, S) normalised.

        In the authors' order of operations: with it boxes are theirs to the last bits.
        """
        pixels = torch.from_numpy(np.ascontiguousarray(patch)).to(self._device)
        return (pixels.permute(2, 0, 1).float() / 255 - self._mean).div_(self._std)[None]

    @torch.inference_mode()
    def embed(self, template: np.ndarray) -> Tensor:
        """The template's tokens (1, Lz, D) as they enter the first block."""
        return self.network.embed_template(self._pixels(template))

    @torch.inference_mode()
    def maps(self, embedded: Tensor, search: np.ndarray, box_wh: tuple[float, float]) -> ArrayMaps:
        """The head's maps of a search region."""
        prior = embedded.new_tensor([box_wh]) if self.spec.prune_after else None
        pixels = self._pixels(search)
        tokens, region = self.network.encode(embedded, pixels, prior_wh=prior)
        grid = self.network.backbone.grid_of(pixels)
        maps = self.network.maps(tokens[:, embedded.shape[1] :], region, grid)
        score, size, offset = (one[0].cpu().numpy() for one in maps)
        return ArrayMaps(score[0], size, offset)

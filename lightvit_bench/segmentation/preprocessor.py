"""Images smaller than the sliding window, padded so that the maps and the pixels agree."""

from __future__ import annotations

from mmengine.registry import MODELS
from mmseg.models.data_preprocessor import SegDataPreProcessor


@MODELS.register_module()
class PatchPadPreProcessor(SegDataPreProcessor):
    """SegDataPreProcessor that, at test time, pads short sides to whole patches.

    A ViT sees whole patches only. A window cut by the sliding test has the size of the window, and
    fits; an image smaller than the window does not, and its logits would be stretched by up to 15
    pixels. Such a side is padded here to the next multiple, and the padding removed afterwards (by
    mmsegmentation). Sides that reach the window are left alone: the test is the authors' there.

    Args:
        patch: side of a patch in pixels.
        window: side of the sliding window in pixels; None where the whole image is the window.
    """

    def __init__(self, patch: int = 16, window: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.patch = patch
        self.window = window

    def forward(self, data: dict, training: bool = False) -> dict:
        """As the parent; inputs are (3, H, W) images, stacked to (B, 3, H', W') when testing."""
        if not training:
            sides = data["inputs"][0].shape[-2:]
            self.test_cfg = dict(size=tuple(self.padded(side) for side in sides))
        return super().forward(data, training)

    def padded(self, side: int) -> int:
        """The length a side is padded to."""
        if self.window is not None and side >= self.window:
            return side
        patches = max(2, -(-side // self.patch))  # two: the coarsest map has half as many
        return patches * self.patch

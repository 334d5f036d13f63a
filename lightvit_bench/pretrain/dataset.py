"""The images of masked pre-training as a data set: each sample a function of its draw alone.

    train_dataloader = dict(
        dataset=dict(type="PretrainImages", data_root="data/imagenet/train"),
        sampler=dict(type="EpochSampler", batch=4096),
        collate_fn=dict(type="collate_images"),
    )
    custom_hooks = [dict(type="ImageReport")]

A file that cannot be read is replaced by the next one that can, and told of; too many end the run.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterable, Sequence
from itertools import islice

import cv2
import torch
from mmengine.dist import all_gather_object, is_distributed
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import DATASETS, FUNCTIONS, HOOKS
from torch.utils.data import DataLoader, Dataset, get_worker_info

from lightvit_bench.data.roots import resolve_root
from lightvit_bench.errors import BadDataError, printable
from lightvit_bench.openmmlab.replay import Draw
from lightvit_bench.pretrain.augment import (
    MODES,
    RandomResizedCropFlip,
    UnreadableImage,
    because,
    open_image,
)
from lightvit_bench.pretrain.sampler import EpochSampler
from lightvit_bench.pretrain.sources import allowed_unreadable, named_reasons, open_source

_IN_A_ROW = 20  # unreadable images after which it is not single files that are damaged
_KNOBS = {
    "set": "--cfg-options train_dataloader.dataset.max_unreadable=0.01   to tolerate more",
    "help": "docs/pretraining_data.md#unreadable-and-small-images",
}


@DATASETS.register_module()
class PretrainImages(Dataset):
    """Random crops of a folder's or a pack's images.

    Args:
        data_root: a folder of images or a pack; `data/...` lies below $LIGHTVIT_DATA where set.
        min_side: an image with a shorter side counts as unreadable; 0 takes all. Those smaller
            than the crop are enlarged, as the recipe does, and counted.
        max_unreadable: part of the data set that may be unreadable before `ImageReport` ends the
            run; one file may always be, unless it is 0.

    A sample is `dict(inputs, index, replaced, small)`: inputs uint8 (3, crop_size, crop_size), RGB;
    index of the image used; replaced: (index, reason) of those that could not be; small: smaller
    than the crop on either side.

    Raises:
        MissingDataError, BadDataError: see `open_source`.
        ConfigError: the crop cannot be drawn.
    """

    def __init__(
        self,
        data_root: str,
        crop_size: int = 224,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolations: Sequence[str] = MODES,
        flip: float = 0.5,
        min_side: int = 0,
        max_unreadable: float = 0.001,
    ):
        self.augment = RandomResizedCropFlip(
            crop_size, tuple(scale), tuple(ratio), tuple(interpolations), flip
        )
        self.source = open_source(resolve_root(data_root))
        self.min_side, self.max_unreadable = min_side, max_unreadable
        self._prepared = False

    def __len__(self) -> int:
        return len(self.source)

    @property
    def digest(self) -> str:
        """Changes when the names of the images do (packs: or the sizes)."""
        return self.source.digest

    def names(self, indices: Iterable[int]) -> list[str]:
        """The images' paths below the root."""
        return [self.source.name(int(index)) for index in indices]

    def __getitem__(self, index: int) -> dict:
        """The sample of a `Draw`; of a plain index, that of draw `index` of seed 0."""
        self._prepare_worker()
        draw = index if isinstance(index, Draw) else Draw(index, 0, index)
        replaced = []
        for step in range(min(_IN_A_ROW, len(self))):
            used = (int(draw) + step) % len(self)
            try:
                inputs, small = self._load(used, draw)
            except (UnreadableImage, OSError) as error:
                replaced.append((used, because(error)))
                continue
            return {"inputs": inputs, "index": used, "replaced": replaced, "small": small}
        raise BadDataError(
            f"{len(replaced)} images in a row cannot be read.",
            images=[f"{printable(self.source.name(i))}: {why}" for i, why in replaced],
            of=self.source.describe(),
        )

    def _load(self, index: int, draw: Draw) -> tuple[torch.Tensor, bool]:
        encoded = self.source.read(index)
        header = open_image(encoded)
        side = min(header.height, header.width)
        if side < self.min_side:
            raise UnreadableImage(
                f"{header.width}x{header.height} pixels, smaller than min_side {self.min_side}"
            )
        return self.augment(encoded, generator(draw), header), side < self.augment.size

    def _prepare_worker(self) -> None:
        if not self._prepared and get_worker_info() is not None:
            cv2.setNumThreads(0)  # the workers are the threads
            torch.set_num_threads(1)
            self._prepared = True


def generator(draw: Draw) -> random.Random:
    """The randomness of a draw: a function of its seed and number.

    Python's seeding mixes all the bits of an integer of any length, in 5 us.
    """
    return random.Random((draw.seed << 64) + draw.number)


@FUNCTIONS.register_module()
def collate_images(samples: Sequence[dict]) -> dict:
    """A batch: inputs uint8 (B, 3, H, W), index int64 (B), replaced: all pairs, small: how many."""
    return {
        "inputs": torch.stack([sample["inputs"] for sample in samples]),
        "index": torch.tensor([sample["index"] for sample in samples]),
        "replaced": [pair for sample in samples for pair in sample["replaced"]],
        "small": sum(sample["small"] for sample in samples),
    }


@HOOKS.register_module()
class ImageReport(Hook):
    """Tells of unreadable images as they come, once each, and of small ones; ends a hopeless run.

    Ranks of a distributed run tell one another what they have met now and then and at the end, and
    judge all of it together.

    Args:
        interval: iterations from one such exchange to the next; one process judges in each.
        small_after: iterations after which it first says how many images were smaller than the
            crop, if any was.

    Raises:
        BadDataError: more distinct images are unreadable than the data set's `max_unreadable`.
    """

    def __init__(self, small_after: int = 100, interval: int = 50):
        self.small_after, self.interval = small_after, interval
        self.unreadable: dict[int, str] = {}  # met here
        self.known: dict[int, str] = {}  # met anywhere, as of the last exchange
        self.small = self.images = self.iterations = 0

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Count a batch."""
        dataset = runner.train_dataloader.dataset
        for index, reason in data_batch["replaced"]:
            if index not in self.unreadable:
                self.unreadable[index] = reason
                _tell(dataset, index, reason)
        if not is_distributed() or (batch_idx + 1) % self.interval == 0:
            self._judge(dataset)
        self.images += len(data_batch["inputs"])
        self.small += data_batch["small"]
        self.iterations += 1
        if self.iterations == self.small_after and self.small:
            print_log(
                f"{self.small:,} of the first {self.images:,} images are smaller than the crop "
                f"of {dataset.augment.size} (enlarged)",
                logger="current",
                level=logging.WARNING,
            )

    def after_train(self, runner) -> None:
        """Judge once more, and say what all ranks have met."""
        dataset = runner.train_dataloader.dataset
        self._judge(dataset)
        parts = all_gather_object((self.small, self.images))
        small, images = map(sum, zip(*parts, strict=True))
        summary = (
            f"of {images:,} images drawn {small:,} were smaller than the crop of "
            f"{dataset.augment.size} (enlarged); unreadable files: {len(self.known):,}"
        )
        print_log("\n  ".join([summary, *_named(dataset, self.known)]), logger="current")

    def _judge(self, dataset: PretrainImages) -> None:
        """Exchange what is new, and raise on every rank alike if all of it is too much."""
        new = {index: why for index, why in self.unreadable.items() if index not in self.known}
        for part in all_gather_object(new):
            for index, reason in part.items():
                if index not in self.known and index not in self.unreadable:
                    _tell(dataset, index, reason)  # met by another rank, whose log is silent
                self.known[index] = reason
        allowed = allowed_unreadable(len(dataset), dataset.max_unreadable)
        if len(self.known) > allowed:
            raise BadDataError(
                f"{len(self.known):,} of {len(dataset):,} images cannot be read, "
                f"{allowed:,} may (max_unreadable={dataset.max_unreadable:g}).",
                images=_named(dataset, self.known),
                of=dataset.source.describe(),
                **_KNOBS,
            )


def _tell(dataset: PretrainImages, index: int, reason: str) -> None:
    name = printable(dataset.names([index])[0])
    print_log(
        f"unreadable, replaced by the next: {name}: {reason}",
        logger="current",
        level=logging.WARNING,
    )


def _named(dataset: PretrainImages, unreadable: dict[int, str]) -> list[str]:
    return named_reasons((dataset.source.name(i), why) for i, why in sorted(unreadable.items()))


def loader_rate(
    data_root: str, *, workers: int, images: int, crop_size: int = 224, batch: int = 128
) -> float:
    """Images a second that a DataLoader delivers once it runs, measured over about `images`.

    Raises what `PretrainImages` raises, and ConfigError for fewer images than a batch.
    """
    dataset = PretrainImages(data_root, crop_size=crop_size)
    ahead, count = 2 * workers, -(-images // batch)
    sampler = EpochSampler(dataset, seed=0, batch=batch)
    loader = DataLoader(
        dataset,
        batch_size=batch,
        sampler=list(islice(sampler, batch * (1 + ahead + count + ahead))),
        num_workers=workers,
        collate_fn=collate_images,
    )
    stream = iter(loader)
    for _ in range(1 + ahead):  # started, and what was made while starting is used up
        next(stream)
    start = time.perf_counter()
    for _ in range(count):
        next(stream)
    seconds = time.perf_counter() - start
    for _ in stream:  # made while we measured; workers that are done end quietly
        pass
    return count * batch / seconds

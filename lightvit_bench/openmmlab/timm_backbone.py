"""Any model of timm that gives feature maps, as a backbone of mmdetection or mmsegmentation."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from lightvit_bench.checkpoint import read_checkpoint, sha256
from lightvit_bench.checkpoint.fit import misfits, refuse_misfits
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.openmmlab.backbone import refuse_other_pixels
from lightvit_bench.openmmlab.timm_maps import STRIDES, ask_timm, build_anywhere

# isort: split
import timm  # after timm_maps, which prepares its import

# Where timm's and others' training scripts keep the weights; timm takes the average first, too.
WEIGHTS_IN = ("state_dict_ema", "model_ema", "state_dict", "model")
WRAPPERS = ("_orig_mod.", "module.")


def check_timm_init(model: Mapping[str, Any]) -> None:
    """Check the start of a model config with a TimmBackbone before anything is built.

    Raises:
        CheckpointError: `backbone.init` names a file that is absent, or the weights want other
            pixels than `data_preprocessor` gives them.
        ConfigError: the weights are timm's own, and nothing is installed that fetches them.
    """
    backbone = {key: value for key, value in model["backbone"].items() if key != "type"}
    init = backbone.pop("init", "random")
    if init == "random":
        return
    _refuse_absent(backbone["name"], init)
    maps = ask_timm(**backbone)
    refuse_other_pixels(
        model,
        maps.mean,
        maps.std,
        f"timm's weights of {backbone['name']} were",
        "timm",
        or_say="whose pixels your own weights know: model.backbone.pretrained_cfg_overlay="
        "dict({name}=...) in the config, from 0 to 1",
    )


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """A model of timm by name, its feature maps as they are, without norms of ours.

    Images whose sides are no multiples of the model's coarsest stride are padded with zeros (the
    mean colour) at the right and at the bottom, and the maps cut: families differ in how they round
    such sides, and here all round up. BatchNorm layers are trained; SyncBN in a config reaches
    neck and heads alone.

    Args:
        name: one of `timm.list_models()`, with the tag of its weights if there are several.
        init: "random", "pretrained" (timm's own weights, fetched by timm), or the path of weights
            in timm's names: safetensors, or what torch.save wrote. A classifier in the file is left
            over.
        out_strides: of the maps, ascending.
        timm_options: further arguments of `timm.create_model` (drop_path_rate, img_size, ...).

    Attributes:
        channels, strides: of each map.

    Raises:
        ConfigError: see `ask_timm`; from `forward` if the model takes images of one size alone and
            gets another.
        CheckpointError: from `init_weights`, if `init` is absent, unsafe, or does not fit.
    """

    def __init__(
        self,
        name: str,
        init: str = "random",
        out_strides: Sequence[int] = STRIDES,
        **timm_options: Any,
    ):
        super().__init__()
        self.name = name
        self.init = init
        self.maps = ask_timm(name, out_strides, **timm_options)
        self.channels, self.strides = self.maps.channels, self.maps.strides
        self.model = self._build(pretrained=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Image (B, 3, H, W) -> a map (B, C, H/stride, W/stride), rounded up, per stride."""
        height, width = image.shape[-2:]
        if self.maps.size and self.maps.size != (height, width):
            own = self.maps.size
            raise ConfigError(
                f"timm's {self.name} takes images of {own[0]} x {own[1]} px alone, and got one of "
                f"{height} x {width}.",
                set="model.backbone.img_size to the size of crops and test windows, if the model "
                "knows that option",
                or_take="a model for images of any size",
            )
        right, bottom = -width % self.maps.multiple, -height % self.maps.multiple
        if (right or bottom) and not self.maps.size:
            image = functional.pad(image, (0, right, 0, bottom))
        maps = self.model(image)
        if self.maps.channels_last:
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        return tuple(
            x[..., : -(-height // stride), : -(-width // stride)].contiguous()
            for x, stride in zip(maps, self.strides, strict=True)
        )

    def init_weights(self) -> None:
        """Load the initial weights; random ones are there since timm built the model."""
        if self.init == "random":
            return
        _refuse_absent(self.name, self.init)
        if self.init == "pretrained":
            self.model.load_state_dict(self._fetch().state_dict())
            print_log(f"weights of {self.name} fetched by timm", logger="current")
        else:
            print_log(self._load(self.init), logger="current")

    def get_layer_depth(self, name: str, prefix: str = "") -> tuple[int, int]:
        """The depth of a parameter, and the number of depths: 0 of 2 for the whole backbone.

        timm's families have no notion of depth in common. A layer decay rate of 0.1 lets all of the
        backbone learn at a tenth of the heads' rate.
        """
        return 0, 2

    def _build(self, pretrained: bool) -> nn.Module:
        """The model that gives the maps, by timm's own hands."""
        return timm.create_model(
            self.name,
            pretrained=pretrained,
            features_only=True,
            out_indices=self.maps.indices,
            **self.maps.options,
        )

    def _fetch(self) -> nn.Module:
        """The model with timm's weights; its random start does not count."""
        try:
            with torch.random.fork_rng(devices=[]):
                return self._build(pretrained=True)
        except Exception as error:  # of huggingface_hub, of the network, of timm
            raise CheckpointError(
                f"timm could not fetch its weights of {self.name}.",
                cause=f"{type(error).__name__}: {error}".splitlines()[0],
                or_give="a file: --cfg-options init=PATH",
            ) from error

    def _load(self, path: str) -> str:
        """Load weights of the whole model from a file; what was done, in words.

        Taking a model apart for its maps, timm renames some layers and drops others. Names are
        those of the whole model here, in the file and in errors.
        """
        weights = _weights_in(path)
        whole = build_anywhere(self.name, self.maps.options, features_only=False)
        state = self.model.state_dict()
        own = {_name_in(whole.state_dict(), name): tensor for name, tensor in state.items()}
        if len(own) != len(state):
            raise CheckpointError(f"timm's names for the layers of {self.name} are ambiguous.")
        found = _misfits(weights, own, whole)
        if any(found.values()) and (translated := self._translate(weights)):
            found = _misfits(translated, own, whole)
            weights = translated
        refuse_misfits(path, f"{self.name} of timm", **found)
        with torch.no_grad():
            for name, tensor in own.items():  # they share their memory with the model's
                tensor.copy_(weights[name])
        left = [name for name in weights if name not in own]
        shown = ", ".join(left[:4]) + (", ..." if len(left) > 4 else "")
        return (
            f"{self.name} of timm, weights from {path} (sha256 {sha256(path)[:12]})\n"
            f"  tensors: {len(own)} loaded, {len(left)} left over{': ' * bool(left)}{shown}"
        )

    def _translate(self, weights: dict[str, Tensor]) -> dict[str, Tensor] | None:
        """Weights in timm's present names, by the filter that the family has for older files."""
        with torch.random.fork_rng(devices=[]):
            whole = timm.create_model(self.name, **self.maps.options)
        family = sys.modules[type(whole).__module__]
        if not hasattr(family, "checkpoint_filter_fn"):
            return None
        try:
            return family.checkpoint_filter_fn(dict(weights), whole)
        except Exception:  # it takes the file for one of its own; what misfits is said instead
            return None


def _refuse_absent(name: str, init: str) -> None:
    """Say what is missing for a start that is not random."""
    if init == "pretrained":
        if not timm.is_model_pretrained(name):
            raise ConfigError(f"timm has no weights for {name}.", set="--cfg-options init=random")
        if importlib.util.find_spec("huggingface_hub") is None:
            raise ConfigError(
                f"timm needs huggingface_hub to fetch its weights of {name}.",
                do="pip install huggingface_hub",
                or_give="a file of weights: --cfg-options init=PATH",
                or_start="from random weights: --cfg-options init=random",
            )
    elif not Path(init).is_file():
        raise CheckpointError(
            "the checkpoint to start from is not there.",
            file=init,
            wanted=f"weights of timm's {name}: safetensors, or what torch.save wrote",
            or_start="--cfg-options init=pretrained (timm fetches its own), or init=random",
        )


def _weights_in(path: str) -> dict[str, Tensor]:
    """The tensors of a file by name, out of the sections and wrappers of training scripts."""
    content = read_checkpoint(path)
    for key in WEIGHTS_IN:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    weights = {}
    for name, tensor in content.items() if isinstance(content, Mapping) else ():
        for wrapper in (*WRAPPERS, WRAPPERS[0]):  # compiled before or after it was wrapped
            name = str(name).removeprefix(wrapper)
        if isinstance(tensor, Tensor):
            weights[name] = tensor
    if not weights:
        raise CheckpointError("the file holds no weights by name.", file=path)
    return weights


def _name_in(whole: Mapping[str, Tensor], name: str) -> str:
    """The name in a whole model of a tensor of the model that gives its maps.

    timm flattens a Sequential ("stages.0" becomes "stages_0"), or puts all below one module.
    """
    top, _, rest = name.partition(".")
    if top in ("model", "body"):
        return rest
    flat = [i for i, char in enumerate(top) if char == "_"]
    names = [name, *(f"{top[:i]}.{top[i + 1 :]}.{rest}" for i in reversed(flat))]
    return next((candidate for candidate in names if candidate in whole), name)


def _misfits(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor], whole: nn.Module
) -> dict[str, list[str]]:
    """What is missing, strange or of another shape; the whole model's other layers may be there."""
    beside = set(whole.state_dict()) - set(own)
    return misfits({name: t for name, t in weights.items() if name not in beside}, own)

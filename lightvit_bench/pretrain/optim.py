"""Which parameters of a pre-training are weight-decayed."""

from __future__ import annotations

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import Tensor, nn

from lightvit_bench.errors import ConfigError

# Learned tables and tokens; their names end so in every encoder and decoder here.
EMBEDDINGS = ("cls_token", "mask_token", "pos_embed")
KNOWN = {"clean"}


def is_decayed(name: str, parameter: Tensor, *, clean: bool) -> bool:
    """Whether a parameter is weight-decayed.

    timm 0.4.12's filter, which the authors use: one-dimensional tensors and biases are not, all
    else is. They call it on a wrapper that hides the model's `no_weight_decay`, so that CLS token,
    mask token and learned positions are decayed too; `clean` leaves these out.
    """
    if parameter.ndim <= 1 or name.endswith(".bias"):
        return False
    return not (clean and name.endswith(EMBEDDINGS))


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PretrainOptimConstructor(DefaultOptimWrapperConstructor):
    """Two groups of parameters, with and without weight decay; frozen ones are in neither.

    paramwise_cfg:
        clean: no weight decay on tokens and learned positions either (see `is_decayed`); False by
            default, as the authors train.

    Raises:
        ConfigError: `paramwise_cfg` has another key, or a `clean` that is not True or False.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        given = dict(paramwise_cfg or {})
        if unknown := set(given) - KNOWN:
            raise ConfigError(
                f"PretrainOptimConstructor does not know paramwise_cfg {sorted(unknown)}.",
                knows=", ".join(sorted(KNOWN)),
            )
        # mmengine leaves `add_params` out, and decays everything, where this is empty.
        given = {"clean": False, **given}
        if not isinstance(given["clean"], bool):
            raise ConfigError(
                f"optim_wrapper.paramwise_cfg.clean={given['clean']!r} is not True or False."
            )
        super().__init__(optim_wrapper_cfg, given)

    def add_params(self, params: list[dict], module: nn.Module, **kwargs) -> None:
        """Append the decayed group, then the other, to `params`."""
        clean = self.paramwise_cfg["clean"]
        groups = {True: [], False: []}
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                groups[is_decayed(name, parameter, clean=clean)].append((name, parameter))
        for decayed, members in groups.items():
            if not members:
                continue
            params.append(
                {
                    "params": [parameter for _, parameter in members],
                    "param_names": [name for name, _ in members],
                    "weight_decay": (self.base_wd or 0.0) if decayed else 0.0,
                }
            )
        counts = [sum(p.numel() for _, p in groups[decayed]) for decayed in (True, False)]
        print_log(
            f"weight decay {self.base_wd} on {counts[0]:,} weights, none on {counts[1]:,} "
            f"({'norms, biases, tokens, positions' if clean else 'norms and biases'})",
            logger="current",
        )

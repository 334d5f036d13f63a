"""Layer-wise learning rates for any backbone that knows the depth of its parameters."""

from __future__ import annotations

from collections import defaultdict

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from lightvit_bench.errors import ConfigError

# Trained, never decayed: shrinking a position or class embedding means nothing.
NO_DECAY = ("pos_embed", "cls_token")


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(DefaultOptimWrapperConstructor):
    """AdamW groups with lr = base * decay_rate ** (last depth - depth).

    The backbone is asked for each parameter's depth (`get_layer_depth(name, prefix)`, mmpretrain's
    protocol); whatever is outside the backbone has the last depth and the full rate. Biases, norms
    (all one-dimensional parameters), `pos_embed` and `cls_token` are not weight-decayed.
    mmsegmentation's own constructor tells the backbone by its class name, and decays the
    embeddings, whose full names ("backbone.pos_embed") it does not recognise.

    paramwise_cfg:
        layer_decay_rate: factor from one depth to the next, 1.0 for none.
    """

    def add_params(self, params: list[dict], module: nn.Module, **kwargs) -> None:
        """Append the groups of `module` to `params`, the shallowest first."""
        unknown = set(self.paramwise_cfg) - {"layer_decay_rate"}
        if unknown:
            raise ConfigError(
                f"LayerDecayConstructor does not know paramwise_cfg {sorted(unknown)}.",
                knows="layer_decay_rate",
            )
        rate = self.paramwise_cfg.get("layer_decay_rate", 1.0)
        if not hasattr(module.backbone, "get_layer_depth"):
            raise ConfigError(
                f"the backbone {type(module.backbone).__name__} cannot tell the depth of its "
                "parameters.",
                needs="a method get_layer_depth(name, prefix) -> (depth, number of depths)",
                or_set="optim_wrapper.constructor='DefaultOptimWrapperConstructor'",
            )
        last = module.backbone.get_layer_depth("", "")[1] - 1
        groups = defaultdict(list)
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            depth = last
            if name.startswith("backbone."):
                depth = module.backbone.get_layer_depth(name, "backbone.")[0]
            decayed = parameter.ndim > 1 and not name.endswith((".bias", *NO_DECAY))
            groups[depth, decayed].append((name, parameter))
        for (depth, decayed), members in sorted(groups.items(), key=lambda group: group[0]):
            scale = rate ** (last - depth)
            params.append(
                {
                    "params": [parameter for _, parameter in members],
                    "param_names": [name for name, _ in members],
                    "lr": self.base_lr * scale,
                    "lr_scale": scale,
                    "weight_decay": self.base_wd if decayed else 0.0,
                }
            )
        print_log(
            f"{len(params)} parameter groups, learning rates {params[0]['lr']:.3g} (embeddings) "
            f"to {params[-1]['lr']:.3g} (heads)",
            logger="current",
        )

"""State dicts in the published layouts, with seeded random values."""

from __future__ import annotations

import zlib
from functools import cache

import torch
from torch import Tensor

WIDTH, DEPTH, HEADS = 192, 12, 12
Shapes = dict[str, tuple[int, ...]]


def block(i: int, width: int, *parts: str) -> Shapes:
    shapes = {
        "norm1.weight": (width,),
        "norm1.bias": (width,),
        "attn.qkv.weight": (3 * width, width),
        "attn.qkv.bias": (3 * width,),
        "attn.proj.weight": (width, width),
        "attn.proj.bias": (width,),
        "norm2.weight": (width,),
        "norm2.bias": (width,),
        "mlp.fc1.weight": (4 * width, width),
        "mlp.fc1.bias": (4 * width,),
        "mlp.fc2.weight": (width, 4 * width),
        "mlp.fc2.bias": (width,),
    }
    return {f"blocks.{i}.{name}": s for name, s in shapes.items() if name.startswith(parts or "")}


def stem(width: int) -> Shapes:
    return {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 197, width),
        "patch_embed.proj.weight": (width, 3, 16, 16),
        "patch_embed.proj.bias": (width,),
    }


def linear(name: str, out: int, width: int) -> Shapes:
    return {f"{name}.weight": (out, width), f"{name}.bias": (out,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def encoder(width: int = WIDTH, depth: int = DEPTH) -> Shapes:
    shapes = stem(width)
    for i in range(depth):
        shapes |= block(i, width)
    return shapes


def decoder(width: int = 96) -> Shapes:
    return {
        "mask_token": (1, 1, width),
        "decoder_pos_embed": (1, 197, width),
        **linear("decoder_embed", width, WIDTH),
        **{"decoder_" + name: shape for name, shape in block(0, width).items()},
        **norm("decoder_norm", width),
        **linear("decoder_pred", 768, width),
    }


def fill(shapes: Shapes, seed: str = "") -> dict[str, Tensor]:
    """Random values from a seed: norms near one, weights of unit gain. The tensors are shared."""
    return dict(_fill(tuple(shapes.items()), seed))


@cache
def _fill(shapes: tuple, seed: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(zlib.crc32(seed.encode()))
    state = {}
    for name, shape in shapes:
        value = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            value = value * 0.05 + float("norm" in name and name.endswith("weight"))
        elif len(shape) == 3:
            value = value * 0.1
        else:
            value = value / value[0].numel() ** 0.5
        state[name] = value
    return state


def hollow(shapes: Shapes) -> dict[str, Tensor]:
    """Tensors of these shapes that take no memory."""
    return {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def student(seed: str = "student") -> dict[str, Tensor]:
    """MAE-Lite's pre-training model: encoder, norm, decoder."""
    return fill(encoder() | norm("norm", WIDTH) | decoder(), seed)


def teacher() -> dict[str, Tensor]:
    """The teacher's part: same names as the student's, other shapes."""
    return hollow(stem(768) | block(0, 768) | norm("norm", 768))


ADAPTER = {"attn_adapter.adapter11.weight": (12, 12, 1, 1)}


def mae(prefix: str = "module.model.") -> dict:
    return {"start_epoch": 400, "model": under(prefix, student()), "optimizer": {}}


def dmae(outer: str = "module.") -> dict:
    state = under(f"{outer}tch_model.", teacher()) | under(f"{outer}model.", student())
    return {"model": state | under(outer, fill(ADAPTER))}


def d2mae(outer: str = "module.") -> dict:
    content = dmae(outer)
    thirteenth = fill(block(12, WIDTH, "norm1", "attn.qkv"), "thirteenth")
    content["model"] |= under(f"{outer}model.", thirteenth)
    return content


def classifier(prefix: str = "module.model.") -> dict:
    shapes = encoder() | norm("fc_norm", WIDTH) | linear("head", 10, WIDTH)
    return {"start_epoch": 300, "model": under(prefix, fill(shapes, "classifier"))}


def relative_index(side: int = 14) -> Tensor:
    """BEiT's rule, one pair of tokens at a time: (1 + side², 1 + side²)."""
    tokens = side * side
    distances = (2 * side - 1) ** 2
    index = torch.zeros(tokens + 1, tokens + 1, dtype=torch.int64)
    place = torch.arange(tokens)
    rows = (place // side)[:, None] - (place // side)[None]
    columns = (place % side)[:, None] - (place % side)[None]
    index[1:, 1:] = (rows + side - 1) * (2 * side - 1) + columns + side - 1
    index[0, :] = distances
    index[:, 0] = distances + 1
    index[0, 0] = distances + 2
    return index


def rpe(year: int, prefix: str = "module.model.") -> dict:
    """Fine-tuned with relative positions: 2023 with q, v biases and gamma, 2025 with neither."""
    state = fill(encoder() | norm("fc_norm", WIDTH) | linear("head", 10, WIDTH), "rpe")
    extra: Shapes = {}
    for i in range(DEPTH):
        extra[f"blocks.{i}.attn.relative_position_bias_table"] = (732, HEADS)
        if year == 2023:
            del state[f"blocks.{i}.attn.qkv.bias"]
            for name in ("attn.q_bias", "attn.v_bias", "gamma_1", "gamma_2"):
                extra[f"blocks.{i}.{name}"] = (WIDTH,)
    state |= fill(extra, "tables")
    for i in range(DEPTH):
        state[f"blocks.{i}.attn.relative_position_index"] = relative_index()
    return {"start_epoch": 1000, "model": under(prefix, state)}


def moco(outer: str = "module.") -> dict:
    heads = {f"head.{i}.weight": (8, WIDTH) for i in (0, 3, 6)} | norm("head.1", 8)
    base = fill(encoder() | norm("norm", WIDTH) | heads, "base")
    momentum = fill(encoder(WIDTH, 1) | norm("norm", WIDTH) | heads, "momentum")
    state = under(f"{outer}momentum_encoder.", momentum) | under(f"{outer}base_encoder.", base)
    return {"model": state | under(f"{outer}predictor.", fill({"0.weight": (8, 8)}))}


def facebook(width: int = 768, with_decoder: bool = True) -> dict:
    return {
        "model": hollow(encoder(width) | norm("norm", width) | (decoder() if with_decoder else {}))
    }


def supervised(width: int = WIDTH) -> dict[str, Tensor]:
    """DeiT's and timm's names, bare: encoder, norm, head."""
    shapes = encoder(width) | norm("norm", width) | linear("head", 10, width)
    return fill(shapes, "supervised") if width == WIDTH else hollow(shapes)


TINY_STAGES, BASE_STAGES = (1, 2, 7, 2), (2, 3, 16, 3)


def hiera(width: int = 46, stages: tuple[int, ...] = TINY_STAGES) -> Shapes:
    """The encoder of the published hierarchical files."""
    shapes = {
        "pos_embed": (1, 3136, width),
        "patch_embed.proj.weight": (width, 3, 7, 7),
        "patch_embed.proj.bias": (width,),
    }
    i = 0
    for stage, blocks in enumerate(stages):
        for first in [stage > 0] + [False] * (blocks - 1):
            own = block(i, width)
            if first:
                narrow, width = width, 2 * width
                own = block(i, width)
                own |= {f"blocks.{i}.norm1.{kind}": (narrow,) for kind in ("weight", "bias")}
                own[f"blocks.{i}.attn.qkv.weight"] = (3 * width, narrow)
                own |= linear(f"blocks.{i}.proj", width, narrow)
            shapes |= own
            i += 1
    return shapes


def hiera_decoder(width: int = 46, decoder_width: int = 96) -> Shapes:
    """Fusion heads, norm and decoder of a masked autoencoder of four stages."""
    out = 8 * width
    return {
        **norm("encoder_norm", out),
        "multi_scale_fusion_heads.0.weight": (out, width, 4, 4),
        "multi_scale_fusion_heads.0.bias": (out,),
        "multi_scale_fusion_heads.1.weight": (out, 2 * width, 2, 2),
        "multi_scale_fusion_heads.1.bias": (out,),
        "mask_token": (1, 1, decoder_width),
        "decoder_pos_embed": (1, 196, decoder_width),
        **linear("decoder_embed", decoder_width, out),
        **{"decoder_" + name: shape for name, shape in block(0, decoder_width).items()},
        **norm("decoder_norm", decoder_width),
        **linear("decoder_pred", 768, decoder_width),
    }


def hiera_classifier(width: int = 46) -> Shapes:
    return norm("norm", 8 * width) | linear("head.projection", 10, 8 * width)


def mae_hiera(prefix: str = "module.model.") -> dict:
    state = fill(hiera() | hiera_decoder(), "hiera")
    return {"start_epoch": 400, "model": under(prefix, state)}


def dmae_hiera(outer: str = "module.") -> dict:
    """With a part of the teacher, which is Meta's Hiera-B."""
    teacher = hollow(hiera(96, (1, 1, 1, 1)) | norm("encoder_norm", 768))
    state = under(f"{outer}tch_model.", teacher) | mae_hiera(f"{outer}model.")["model"]
    adapter = {"attn_adapter.adapter11.weight": (8, 8, 1, 1)}
    return {"model": state | under(outer, fill(adapter))}


def tuned_hiera(prefix: str = "module.model.") -> dict:
    state = fill(hiera() | hiera_classifier(), "tuned hiera")
    return {"start_epoch": 300, "model": under(prefix, state)}


def meta_hiera(width: int = 96, stages: tuple[int, ...] = BASE_STAGES, tuned: bool = False) -> dict:
    behind = hiera_classifier(width) if tuned else hiera_decoder(width, 512)
    return {"model_state": hollow(hiera(width, stages) | behind)}

# MAE, ViT-Small with 12 heads (384 wide; DeiT's has 6): mae_tiny.py with a decoder twice as wide,
# the authors' sizes. Launched like it.
#
# Comes out: work_dirs/pretrain/mae_small/mae_small.safetensors. No downstream config here is of
# this size: take a tiny one, give its backbone preset="vit_small_p16_h12" and its neck and heads
# 384 channels for 192.
_base_ = "./mae_tiny.py"
model = dict(
    backbone=dict(preset="vit_small_p16_h12"),
    decoder=dict(width=192, depth=1, heads=6),
)
default_hooks = dict(export=dict(then=None))

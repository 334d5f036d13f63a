# D-MAE, Hiera-Tiny: mae_hiera_tiny.py, and the last block's attention learned from Hiera-Base (the
# journal's plain form: nothing is decoupled here). Launched like mae_tiny.py.
#
# The teacher: mae_hiera_base_224.pth of Meta,
#   tools/convert_checkpoint.py mae_hiera_base_224.pth checkpoints/hiera_base.safetensors \
#       --from meta-hiera
#
# Comes out: work_dirs/pretrain/dmae_hiera_tiny/dmae_hiera_tiny.safetensors.
# Goes into: configs/ade20k/fpn_hiera_tiny.py.
_base_ = "./mae_hiera_tiny.py"
model = dict(
    distill=dict(
        teacher=dict(preset="hiera_base", init="checkpoints/hiera_base.safetensors"),
        # (student's block of 12, teacher's block of 24), both from 1. Logits before the softmax,
        # 8 heads x 116 x 116 an image; the same mask units are hidden from both.
        attention=[(12, 24)],
        attention_weight=1.0,
        hidden=[],
        hidden_weight=1.0,
    )
)

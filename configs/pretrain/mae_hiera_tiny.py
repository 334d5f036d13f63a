# MAE, Hiera-Tiny (46 wide, stages of 1, 2, 7 and 2 blocks with 1, 2, 4 and 8 heads of 46 channels;
# tokens of 4 px, positions learned): the recipe of mae_tiny.py on the authors' hierarchical encoder
# (the journal, as its code has it). Launched like mae_tiny.py.
#
# Comes out: work_dirs/pretrain/mae_hiera_tiny/mae_hiera_tiny.safetensors.
# Goes into: configs/ade20k/fpn_hiera_tiny.py.
_base_ = "./mae_tiny.py"
model = dict(
    backbone=dict(preset="hiera_tiny"),
    # Whole mask units are hidden: 8 x 8 tokens of 4 px = 32 px, 224 / 32 = 7, 49 units, of which
    # int(49 * 0.6) = 29 are kept; that is 29 * 2 * 2 = 116 tokens of 16 px in the last stage. Hiera
    # itself, and the default of the authors' model, hide 0.6; their experiment says 0.4.
    mask_ratio=0.4,
    # What the stages see, brought to the last one's resolution, is summed and normed (their
    # "multi-scale fusion"); this decoder predicts patches of 16 px, with learned positions, 196 of
    # them. They are weight-decayed, like the encoder's own.
    decoder=dict(width=96, depth=1, heads=3),
)
default_hooks = dict(
    export=dict(then="tools/train.py configs/ade20k/fpn_hiera_tiny.py --cfg-options init={path}")
)

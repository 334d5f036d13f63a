# MAE, ViT-Base: a teacher of one's own. Encoder 768 wide with 12 heads, and the decoder of
# Facebook's MAE (512 wide, 8 blocks, 16 heads). Launched like mae_tiny.py, with smaller parts:
# model.accumulate=2 where 512 images do not fit on a GPU.
#
# Everything else is mae_tiny.py, not Facebook's recipe: they train 1600 epochs (what the authors
# teach with) and crop 0.2 to 1 of an image, bicubic. As theirs, with our names:
#   --cfg-options train_cfg.max_epochs=1600 train_dataloader.dataset.scale=(0.2,1.0) \
#       train_dataloader.dataset.interpolations=[bicubic]
#
# Comes out: work_dirs/pretrain/mae_base/mae_base.safetensors.
# Goes into: dmae_tiny.py and the others that have a ViT-Base for a teacher.
_base_ = "./mae_tiny.py"
model = dict(
    backbone=dict(preset="vit_base_p16"),
    decoder=dict(width=512, depth=8, heads=16),
)
default_hooks = dict(
    export=dict(then="tools/train.py configs/pretrain/dmae_tiny.py --cfg-options teacher={path}")
)

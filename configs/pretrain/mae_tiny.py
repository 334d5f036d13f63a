# MAE, ViT-Tiny with 12 heads, ImageNet without labels, 400 epochs: the recipe of MAE-Lite (ICML
# 2023) as its code has it. Where paper and code differ: the comments of the _base_ files.
#
#   tools/dist_train.sh configs/pretrain/mae_tiny.py 8                  eight GPUs, 4096 images
#   tools/train.py configs/pretrain/mae_tiny.py --cfg-options \
#       train_dataloader.batch_size=4096 model.accumulate=8             one GPU, the same
#   tools/train.py configs/pretrain/mae_tiny.py --cfg-options data_root=/my/images \
#       train_dataloader.batch_size=64 train_cfg.max_epochs=100         a folder of one's own, a CPU
#
# Comes out: work_dirs/pretrain/mae_tiny/mae_tiny.safetensors, and pictures of reconstructions.
# Goes into: configs/*/*_mae_tiny.py, or any other config with --cfg-options init=PATH.
# The authors name "~40 h" on eight 2080.
_base_ = [
    "../_base_/models/mae_vit_tiny.py",
    "../_base_/datasets/imagenet_pretrain.py",
    "../_base_/schedules/pretrain_400e.py",
    "../_base_/pretrain_runtime.py",
]
default_hooks = dict(
    export=dict(then="tools/train.py configs/ade20k/upernet_mae_tiny.py --cfg-options init={path}")
)

# TinyMIM (Ren et al. 2023), ViT-Tiny: relations of queries and keys, and of values, learned from
# MAE's ViT-Base on whole images; no masking, no decoder, no pixels. Hyper-parameters as in the
# README and main_pretrain.py of its repository.
#
#   tools/dist_train.sh configs/pretrain/tinymim_tiny.py 8              eight GPUs, 2048 images
#   tools/train.py configs/pretrain/tinymim_tiny.py --cfg-options \
#       train_dataloader.batch_size=2048 model.accumulate=8             one GPU, the same
#   tools/train.py configs/pretrain/tinymim_tiny.py --cfg-options data_root=/my/images \
#       train_dataloader.batch_size=64 train_cfg.max_epochs=100         a folder of one's own, a CPU
#
# The teacher is that of dmae_tiny.py, which says where it comes from.
#
# Not as theirs:
# - Heads: their student has 6, and 12 in its last block, as the teacher; ours has 12 everywhere.
# - Colour: their student's image, not the teacher's, is jittered (0.4 in brightness, contrast and
#   saturation). Here both see the same.
# - Drop path: theirs is 0.1 in every block but the last, ours grows from 0 to 0.1.
# - The teacher: they distil in sequence, a ViT-Tiny from a ViT-Small that learned from a ViT-Base
#   that learned from a ViT-Large.
#
# Comes out: work_dirs/pretrain/tinymim_tiny/tinymim_tiny.safetensors, without a final norm. The
# last block's projection and MLP are at their random start, as TinyMIM leaves them.
# Goes into: any config, with --cfg-options init=PATH.
_base_ = "./mae_tiny.py"
model = dict(
    backbone=dict(drop_path=0.1),
    decoder=None,
    mask_ratio=0,
    distill=dict(
        teacher=dict(preset="vit_base_p16", init="checkpoints/mae_base.safetensors"),
        # (student's block, teacher's block): the last of both, their default for a ViT-Base.
        # KL(teacher || student) of softmax(q k^T / sqrt(d)) and of softmax(v v^T / sqrt(d)), 12 x
        # 197 x 197 each, summed over a row and averaged over rows; the two are summed.
        relation=[(12, 12)],
        relation_weight=1.0,
    ),
)
train_dataloader = dict(
    batch_size=256,  # per GPU; 32 GPUs of 64 in theirs
    dataset=dict(scale=(0.2, 1.0), interpolations=("bicubic",)),
)
# 1.5e-4 for 256 images: 1.5e-4 * 2048 / 256 = 1.2e-3
optim_wrapper = dict(optimizer=dict(lr=1.2e-3))
auto_scale_lr = dict(base_batch_size=2048)
# 1,281,167 // 2048 = 625 iterations an epoch; from 0 in 15 epochs, then a cosine to 0.
param_scheduler = [
    dict(type="WarmupCosineLR", warmup=15, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=300)
default_hooks = dict(
    export=dict(then="tools/train.py configs/ade20k/upernet_dmae_tiny.py --cfg-options init={path}")
)

# D-MAE: mae_tiny.py, and the last block's attention learned from MAE's ViT-Base (MAE-Lite,
# as its code has it).
#
#   tools/dist_train.sh configs/pretrain/dmae_tiny.py 8                 eight GPUs, 4096 images
#   tools/train.py configs/pretrain/dmae_tiny.py --cfg-options \
#       train_dataloader.batch_size=4096 model.accumulate=8             one GPU, the same
#   tools/train.py configs/pretrain/dmae_tiny.py --cfg-options data_root=/my/images \
#       train_dataloader.batch_size=64 train_cfg.max_epochs=100         a folder of one's own, a CPU
#
# The teacher: mae_base_1600e.pth.tar of the authors (Facebook's MAE, 1600 epochs),
#   tools/convert_checkpoint.py mae_base_1600e.pth.tar checkpoints/mae_base.safetensors \
#       --from facebook-mae
# or one's own (mae_base.py), by --cfg-options teacher=PATH. It sees the student's images, and
# of them the same visible tokens; it is in evaluation mode, without gradients, without its decoder.
#
# Comes out: work_dirs/pretrain/dmae_tiny/dmae_tiny.safetensors, and pictures of reconstructions.
# Goes into: configs/*/*_dmae_tiny.py, or any other config with --cfg-options init=PATH.
# The authors name "~44 h" on eight V100.
_base_ = "./mae_tiny.py"
model = dict(
    distill=dict(
        teacher=dict(preset="vit_base_p16", init="checkpoints/mae_base.safetensors"),
        # (student's block, teacher's block), both from 1. Of both the logits q k^T / sqrt(d), 12 x
        # 50 x 50 an image: before the softmax, CLS token included, visible tokens only. So their
        # code; the paper speaks of attention maps. The student's go through a 1 x 1 convolution
        # over heads (12 -> 12, no bias, torch's own start; trained and weight-decayed), and the
        # loss is the mean squared error.
        attention=[(12, 12)],
        attention_weight=1.0,
        # Inputs of blocks, behind their first norm, through a linear layer: in the authors' code
        # with weight 1 and no block. hidden=[(12, 12)] switches it on.
        hidden=[],
        hidden_weight=1.0,
    )
)
default_hooks = dict(
    export=dict(then="tools/train.py configs/ade20k/upernet_dmae_tiny.py --cfg-options init={path}")
)

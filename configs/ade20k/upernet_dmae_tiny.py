# UPerNet, ViT-Tiny pre-trained with D-MAE, ADE20K at 512 px, 160k iterations, mixed precision.
#
#   tools/train.py configs/ade20k/upernet_dmae_tiny.py                       one GPU, 16 images
#   tools/dist_train.sh configs/ade20k/upernet_dmae_tiny.py 8 \
#       --cfg-options train_dataloader.batch_size=2                          eight GPUs
#
# The authors published no UPerNet; their recipe for Semantic FPN (fpn_dmae_tiny.py) is used.
_base_ = [
    "../_base_/models/upernet_vit_tiny.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/seg_160k.py",
    "../_base_/runtime.py",
]
model = dict(backbone=dict(init="checkpoints/dmae_tiny.safetensors"))
optim_wrapper = dict(type="AmpOptimWrapper", loss_scale="dynamic")

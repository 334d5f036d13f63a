# Semantic FPN, Hiera-Tiny pre-trained with D-MAE, ADE20K at 512 px. Data, schedule and optimiser of
# fpn_dmae_tiny.py; the authors published no segmentation with Hiera.
#
#   tools/train.py configs/ade20k/fpn_hiera_tiny.py                          one GPU, 16 images
_base_ = [
    "../_base_/models/fpn_hiera_tiny.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/seg_160k.py",
    "../_base_/runtime.py",
]
model = dict(backbone=dict(init="checkpoints/dmae_hiera_tiny.safetensors"))

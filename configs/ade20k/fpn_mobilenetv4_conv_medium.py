# Semantic FPN, MobileNetV4-Conv-M of timm, ADE20K at 512 px: 7.2 M parameters and 4.3 GMACs in the
# backbone, 25.6 GMACs in all, most of them in neck and head, which begin with 256 channels
# (fpn_dmae_tiny.py: 10.4 and 13.4, with 48 channels; fpn_timm.py says how to have those here).
# Data, schedule and optimiser are that config's. Starts from timm's weights, trained on ImageNet
# with labels, which timm fetches (pip install huggingface_hub); your own: --cfg-options init=PATH.
# More: docs/backbones.md
#
#   tools/train.py configs/ade20k/fpn_mobilenetv4_conv_medium.py --cfg-options init=random
#   tools/train.py configs/ade20k/fpn_mobilenetv4_conv_medium.py \
#       --cfg-options model.backbone.name=fastvit_t12               any other model of timm
_base_ = [
    "../_base_/models/fpn_timm.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/seg_160k.py",
    "../_base_/runtime.py",
]
model = dict(backbone=dict(name="mobilenetv4_conv_medium"))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))  # all learn at the full rate

# Mask R-CNN, EfficientViT-B1 of timm, COCO at 640 px; data, schedule and heads of
# mask_rcnn_dmae_tiny.py. 4.6 M parameters and 4.1 GMACs at 640 x 640 in the backbone (ViT-Tiny run
# as ViTDet: 5.5 and 35.6). Starts from timm's weights, trained on ImageNet with labels, which timm
# fetches (pip install huggingface_hub); your own: --cfg-options init=PATH. More: docs/backbones.md
#
#   tools/train.py configs/coco/mask_rcnn_efficientvit_b1.py --cfg-options init=random
#   tools/train.py configs/coco/mask_rcnn_efficientvit_b1.py \
#       --cfg-options model.backbone.name=fastvit_t12               any other model of timm
_base_ = [
    "../_base_/models/mask_rcnn_timm.py",
    "../_base_/datasets/coco.py",
    "../_base_/schedules/det_100ep.py",
    "../_base_/detection_runtime.py",
]
model = dict(backbone=dict(name="efficientvit_b1"))

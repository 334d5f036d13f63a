# Mask R-CNN, RepViT-M1.0 of timm, COCO at 640 px; data, schedule and heads of
# mask_rcnn_dmae_tiny.py. 6.4 M parameters and 9.0 GMACs at 640 x 640 in the backbone (ViT-Tiny run
# as ViTDet: 5.5 and 35.6). Starts from timm's weights, trained on ImageNet with labels, which timm
# fetches (pip install huggingface_hub); your own: --cfg-options init=PATH. More: docs/backbones.md
#
#   tools/train.py configs/coco/mask_rcnn_repvit_m1_0.py --cfg-options init=random
#   tools/train.py configs/coco/mask_rcnn_repvit_m1_0.py \
#       --cfg-options model.backbone.name=fastvit_t12               any other model of timm
_base_ = [
    "../_base_/models/mask_rcnn_timm.py",
    "../_base_/datasets/coco.py",
    "../_base_/schedules/det_100ep.py",
    "../_base_/detection_runtime.py",
]
model = dict(backbone=dict(name="repvit_m1_0"))

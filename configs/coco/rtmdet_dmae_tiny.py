# A detector for CPUs: RTMDet's head on a ViT-Tiny pre-trained with D-MAE, COCO at 640 px; data and
# schedule of mask_rcnn_dmae_tiny.py. Published by nobody.
#
#   tools/train.py configs/coco/rtmdet_dmae_tiny.py                       one GPU, 64 images
_base_ = [
    "../_base_/models/rtmdet_vit_tiny.py",
    "../_base_/datasets/coco_boxes.py",
    "../_base_/schedules/det_100ep.py",
    "../_base_/detection_runtime.py",
]
model = dict(backbone=dict(init="checkpoints/dmae_tiny.safetensors"))
optim_wrapper = dict(paramwise_cfg=dict(bypass_duplicate=True))  # its levels share convolutions

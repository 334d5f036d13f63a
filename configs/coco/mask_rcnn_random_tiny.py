# Mask R-CNN (ViTDet), ViT-Tiny from random weights; otherwise mask_rcnn_dmae_tiny.py. The authors
# report 32.7 box AP and 28.9 mask AP on their poster (their random start is detectron2's).
_base_ = "./mask_rcnn_dmae_tiny.py"
model = dict(backbone=dict(init="random"))

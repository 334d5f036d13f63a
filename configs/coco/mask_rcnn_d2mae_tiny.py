# Mask R-CNN (ViTDet), ViT-Tiny pre-trained with D²-MAE; otherwise mask_rcnn_dmae_tiny.py. The authors
# report 42.5 box AP and 37.5 mask AP.
_base_ = "./mask_rcnn_dmae_tiny.py"
model = dict(backbone=dict(init="checkpoints/d2mae_tiny.safetensors"))

# Mask R-CNN (ViTDet), ViT-Tiny pre-trained with MAE; otherwise mask_rcnn_dmae_tiny.py. The authors
# report 39.9 box AP and 35.4 mask AP.
_base_ = "./mask_rcnn_dmae_tiny.py"
model = dict(backbone=dict(init="checkpoints/mae_tiny.safetensors"))

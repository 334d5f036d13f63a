# Mask R-CNN (ViTDet), ViT-Tiny pre-trained with MoCo-v3; otherwise mask_rcnn_dmae_tiny.py. The authors
# report 39.7 box AP and 35.1 mask AP.
_base_ = "./mask_rcnn_dmae_tiny.py"
model = dict(backbone=dict(init="checkpoints/mocov3_tiny.safetensors"))

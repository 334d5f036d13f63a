# Mask R-CNN (ViTDet), ViT-Tiny trained with labels (the authors' DeiT-Tiny of 12 heads); otherwise
# mask_rcnn_dmae_tiny.py. The authors report 40.4 box AP and 35.5 mask AP. Facebook's DeiT-Tiny has
# 3 heads: convert it with --from deit and set preset="vit_tiny_p16_h3".
_base_ = "./mask_rcnn_dmae_tiny.py"
model = dict(backbone=dict(init="checkpoints/deit_tiny.safetensors"))

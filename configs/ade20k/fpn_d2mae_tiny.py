# Semantic FPN, ViT-Tiny pre-trained with D²-MAE (distillation decoupled);
# otherwise fpn_dmae_tiny.py.
_base_ = "./fpn_dmae_tiny.py"
model = dict(backbone=dict(init="checkpoints/d2mae_tiny.safetensors"))

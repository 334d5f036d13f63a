# UPerNet, ViT-Tiny pre-trained with D²-MAE (distillation decoupled);
# otherwise upernet_dmae_tiny.py.
_base_ = "./upernet_dmae_tiny.py"
model = dict(backbone=dict(init="checkpoints/d2mae_tiny.safetensors"))

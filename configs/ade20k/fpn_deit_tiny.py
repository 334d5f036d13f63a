# Semantic FPN, DeiT-Tiny (supervised on ImageNet, 3 heads); otherwise fpn_dmae_tiny.py.
# The authors' own supervised ViT-Tiny has 12 heads: convert their deit_tiny_300e with
# --from mae-lite-finetune and set preset="vit_tiny_p16_h12".
_base_ = "./fpn_dmae_tiny.py"
model = dict(backbone=dict(preset="vit_tiny_p16_h3", init="checkpoints/deit_tiny.safetensors"))

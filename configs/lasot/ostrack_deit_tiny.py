# OSTrack, ViT-Tiny trained with labels (the authors' DeiT-Tiny of 12 heads); otherwise
# ostrack_dmae_tiny.py. The authors report 64.1 AUC on LaSOT's test set.
_base_ = "./ostrack_dmae_tiny.py"
# Files of networks trained with labels hold a norm behind the average, and none for tokens.
model = dict(backbone=dict(init="checkpoints/deit_tiny.safetensors", norm="fresh"))

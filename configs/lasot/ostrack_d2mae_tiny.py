# OSTrack, ViT-Tiny pre-trained with D²-MAE; otherwise ostrack_dmae_tiny.py. The authors report 66.1
# AUC on LaSOT's test set.
_base_ = "./ostrack_dmae_tiny.py"
# The final norm of D²-MAE was trained behind block 8; the authors start the tracker's with it.
model = dict(backbone=dict(init="checkpoints/d2mae_tiny.safetensors", norm="norm_depth8"))

# D-MAE, ViT-Small with 12 heads: dmae_tiny.py with the student and decoder of mae_small.py.
# Launched like dmae_tiny.py, with the same teacher; mae_small.py says where its file goes.
_base_ = "./dmae_tiny.py"
model = dict(
    backbone=dict(preset="vit_small_p16_h12"),
    decoder=dict(width=192, depth=1, heads=6),
)
default_hooks = dict(export=dict(then=None))

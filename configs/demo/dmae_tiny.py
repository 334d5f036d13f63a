# The demo's pre-training: configs/pretrain/dmae_tiny.py with the teacher that mae_small.py leaves.
# A few seconds on two CPU cores, to show the path. `make demo` runs it.
_base_ = "./mae_small.py"
model = dict(
    backbone=dict(preset="vit_tiny_p16_h12"),
    decoder=dict(width=96, depth=1, heads=3),
    distill=dict(
        teacher=dict(
            preset="vit_small_p16_h12",
            init="work_dirs/demo/mae_small/mae_small.safetensors",
            img_size=128,
        ),
        attention=[(12, 12)],
        attention_weight=1.0,
    ),
)
train_cfg = dict(max_epochs=32)
default_hooks = dict(checkpoint=dict(interval=32), pictures=dict(interval=160, images=6))

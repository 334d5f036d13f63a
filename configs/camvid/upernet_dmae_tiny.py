# UPerNet on a ViT-Tiny, CamVid, sized for two CPU cores: crops of 256 px, 8 images an iteration,
# mixed precision (bfloat16 on a CPU). No weights at hand: --cfg-options init=random.
#
#   tools/train.py configs/camvid/upernet_dmae_tiny.py --cfg-options init=random
_base_ = [
    "../_base_/models/upernet_vit_tiny.py",
    "../_base_/datasets/camvid.py",
    "../_base_/schedules/seg_160k.py",
    "../_base_/runtime.py",
]
iters = 1600  # 8 * 1600 / 367 = 35 epochs
model = dict(
    data_preprocessor=dict(size=(256, 256), window=256),
    backbone=dict(
        init="checkpoints/dmae_tiny.safetensors",
        img_size=256,
        rel_pos=False,  # a third of the time on a CPU, where attention with a bias is not fused
    ),
    decode_head=dict(num_classes=11, channels=96),
    auxiliary_head=dict(num_classes=11, channels=96),
    test_cfg=dict(mode="slide", crop_size=(256, 256), stride=(104, 112)),
)
optim_wrapper = dict(type="AmpOptimWrapper", optimizer=dict(lr=1e-3), loss_scale="dynamic")
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=100),
    dict(type="PolyLR", eta_min=0.0, power=1.0, by_epoch=False, begin=100, end=iters),
]
auto_scale_lr = dict(base_batch_size=8)
train_cfg = dict(max_iters=iters, val_interval=iters // 2)
default_hooks = dict(checkpoint=dict(interval=iters // 8))

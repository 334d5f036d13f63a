# The demo's teacher: configs/pretrain/mae_small.py shrunk to a few seconds on two CPU cores, on
# generated pictures. Far too short to learn much; it shows the path. `make demo` runs it.
_base_ = "../pretrain/mae_small.py"
model = dict(backbone=dict(img_size=128))  # 8 * 8 = 64 patches, 16 visible
train_dataloader = dict(
    batch_size=24,  # 120 // 24 = 5 iterations an epoch
    num_workers=1,
    dataset=dict(data_root="data/demo/ADEChallengeData2016/images/training", crop_size=128),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=24)
param_scheduler = [
    dict(type="WarmupCosineLR", warmup=2, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=16)
default_hooks = dict(checkpoint=dict(interval=16), pictures=dict(interval=0))
custom_hooks = [
    dict(type="ReplayableIterations"),
    dict(type="ImageReport"),
    dict(type="ProgressLines", interval=40),
]
log_level = "ERROR"  # the lines of ProgressLines say enough

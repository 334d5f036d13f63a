# 300 epochs: AdamW, the encoder and both position tables at a tenth of the rate; a tenth of both
# rates from epoch 240 on; weight decay on all parameters; gradients are clipped to norm 0.1;
# float32 (--amp for mixed precision).
#
# Lengths are in epochs of pairs. tools/train.py makes iterations of them: an epoch is
# train_dataloader.dataset.samples_per_epoch // (batch_size * processes), 60,000 // 128 = 468 in the
# authors' batch of 4 * 32, and the run 140,400. In another batch a run sees the same 18,000,000
# pairs in more or fewer iterations, at a rate in proportion (auto_scale_lr): one GPU and a batch of
# 32 take 1,875 iterations an epoch, 562,500 in all, at 1e-4. (configs/ade20k are in iterations of
# 16 images, as their authors': there another batch sees more or fewer images.)
_base_ = "../tracking_runtime.py"
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=4e-4, betas=(0.9, 0.999), weight_decay=1e-4),
    paramwise_cfg=dict(
        custom_keys={
            "network.backbone": dict(lr_mult=0.1),  # the search region's positions among them
            "network.template_positions": dict(lr_mult=0.1),
        }
    ),
    clip_grad=dict(max_norm=0.1),
)
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[240], gamma=0.1)]
auto_scale_lr = dict(enable=True, base_batch_size=128)  # lr is for 128 pairs an iteration

train_cfg = dict(type="IterBasedTrainLoop", max_epochs=300, val_interval=20)
val_cfg = dict(type="ValLoop")
default_hooks = dict(checkpoint=dict(by_epoch=True, interval=10))
custom_hooks = [
    dict(type="ReplayableIterations"),
    dict(type="KeepRate", epoch_length=60000 // 128),  # tools/train.py sets it for other batches
]

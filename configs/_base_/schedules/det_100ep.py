# 184,375 iterations of 64 images, 100 epochs of 118,000: AdamW without layer decay, warm-up over 250
# iterations, a tenth of the rate at 24/27 and a hundredth at 26/27. Mixed precision: float16 with a
# loss scaler, bfloat16 on a CPU that has it (float32: --cfg-options optim_wrapper.type=OptimWrapper).
optim_wrapper = dict(
    type="AmpOptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    # detectron2's rule: positions are not decayed, nor are the encoder's norms. Biases are, and so
    # are the norms of neck and heads, which are of a class of its own there.
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys={
            "pos_embed": dict(decay_mult=0.0),
            "neck": dict(decay_mult=1.0),
            "roi_head": dict(decay_mult=1.0),
        },
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=250),
    dict(type="MultiStepLR", by_epoch=False, milestones=[163888, 177546], gamma=0.1),
]
auto_scale_lr = dict(enable=True, base_batch_size=64)  # lr is for 64 images an iteration

train_cfg = dict(type="IterBasedTrainLoop", max_iters=184375, val_interval=5000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

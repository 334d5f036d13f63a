# 400 epochs of ImageNet, 4096 images an iteration: 1,281,167 // 4096 = 312 iterations an epoch,
# 400 * 312 = 124,800 in all.
#
# fp16 with a loss scaler that begins at 2^16, as the authors'; on a CPU bfloat16, or float32 where
# the CPU has no bfloat16. On a GPU that has it, bfloat16 needs no scaler and cannot overflow:
#   --cfg-options optim_wrapper.dtype=bfloat16
# float32: --cfg-options optim_wrapper.type=OptimWrapper
optim_wrapper = dict(
    type="AmpOptimWrapper",
    dtype="float16",
    loss_scale="dynamic",
    optimizer=dict(
        type="AdamW",
        lr=2.4e-3,  # 1.5e-4 for 256 images: 1.5e-4 * 4096 / 256
        betas=(0.9, 0.95),
        eps=1e-8,
        weight_decay=0.05,
        fused=True,
    ),
    clip_grad=None,
    # Norms and biases are not decayed. CLS token, mask token, adapters and learned positions are:
    # the authors' wrapper hides the model's list of exceptions from timm. clean=True: those tokens
    # and positions are not decayed either.
    constructor="PretrainOptimConstructor",
    paramwise_cfg=dict(clean=False),
)
# From 0 in 40 epochs (12,480 iterations), then a cosine to 0; it changes with every iteration.
param_scheduler = [
    dict(type="WarmupCosineLR", warmup=40, by_epoch=True, convert_to_iter_based=True)
]
auto_scale_lr = dict(enable=True, base_batch_size=4096)  # lr is for 4096 images an iteration
train_cfg = dict(type="EpochIterLoop", max_epochs=400)

# What every pre-training has: our classes, exact resume, a log that never waits for the GPU,
# checkpoints, the encoder as a file, pictures. SIGTERM saves and ends it; --resume goes on.
default_scope = "mmengine"
custom_imports = dict(imports=["lightvit_bench.registry"], allow_failed_imports=False)

randomness = dict(seed=0)  # the authors': 0, plus the rank

default_hooks = dict(
    # mmengine's, which wait for each step's losses; TrainingLog is in their place.
    runtime_info=None,
    timer=None,
    logger=dict(type="TrainingLog", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    # iter_N.pth every 10 epochs, as the authors; --resume goes on from the newest.
    checkpoint=dict(type="RunCheckpoint", by_epoch=True, interval=10, max_keep_ckpts=3),
    sampler_seed=None,  # the sampler's order follows from the seed and the epoch
    # WORK_DIR/CONFIG.safetensors at every checkpoint, and the command that uses it at the end.
    export=dict(type="ExportEncoder"),
    # WORK_DIR/pictures/iter_N.jpg: original, masked, predicted. 1,560 iterations are five epochs of
    # ImageNet; interval=0 for none.
    pictures=dict(type="ReconstructionPictures", interval=1560, images=8),
)
custom_hooks = [
    dict(type="ReplayableIterations"),
    dict(type="ImageReport"),  # counts and names images that cannot be read
    # A moving average of the weights, in a file of its own (CONFIG_ema.safetensors). The authors'
    # code has one as an option; their recipe does not use it.
    # dict(type="WeightAverage", decay=0.9999),
]
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
vis_backends = [
    dict(type="LocalVisBackend"),  # WORK_DIR/TIME/vis_data/scalars.json
    # dict(type="TensorboardVisBackend"),  # curves and pictures; pip install tensorboard
]
visualizer = dict(type="Visualizer", vis_backends=vis_backends, name="visualizer")
log_processor = dict(by_epoch=False)
log_level = "INFO"
load_from = None
resume = False

# The masked autoencoder of MAE-Lite around its ViT-Tiny: 192 wide, 12 blocks, 12 heads of 16
# channels (DeiT's ViT-Tiny has 3 heads of 64; the weights of one are garbage in the other), MLP 4
# times as wide, LayerNorm eps 1e-6, a CLS token, and positions that are a fixed 2-D sine-cosine
# table. Starts as MAE does: Xavier-uniform linears, zero biases, tokens N(0, 0.02).
data_preprocessor = dict(
    type="PixelNormalizer",
    mean=[123.675, 116.28, 103.53],  # ImageNet, RGB, 0 to 255
    std=[58.395, 57.12, 57.375],
)
model = dict(
    type="Pretraining",
    data_preprocessor=data_preprocessor,
    backbone=dict(preset="vit_tiny_p16_h12", init="random", img_size=224, drop_path=0.0),
    # 192 -> 96, mask token, fixed sine-cosine positions, one block, norm, 96 -> 16 * 16 * 3 = 768.
    decoder=dict(width=96, depth=1, heads=3),
    # 224 / 16 = 14, 14 * 14 = 196 patches, int(196 * 0.25) = 49 visible; with CLS 50 tokens. Which
    # ones: the smallest of uniform noise, drawn for each image.
    mask_ratio=0.75,
    # Mean squared error of hidden patches alone, each less its mean, over its deviation (variance
    # unbiased, plus 1e-6).
    norm_pixels=True,
    # Parts into which each GPU cuts its batch to save memory; one optimiser step all the same. The
    # authors' 4096 images on one GPU: train_dataloader.batch_size=4096 model.accumulate=8.
    accumulate=1,
    # torch.compile of student and teacher. Off, for the first steps take a minute or more: switch
    # it on for whole runs on a GPU (model.compile=True), where kernels this small are otherwise
    # waited for. Token counts are fixed, so nothing is compiled twice.
    compile=False,
)

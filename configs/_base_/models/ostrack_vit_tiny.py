# OSTrack on a ViT-Tiny, as MAE-Lite trains it: template and search region pass through one encoder
# together, 64 + 256 tokens without a CLS token; both position tables are resampled from the
# pre-trained one and trained.
model = dict(
    type="Tracking",
    data_preprocessor=dict(
        type="PairNormalizer",
        mean=[123.675, 116.28, 103.53],  # ImageNet, RGB, 0 to 255
        std=[58.395, 57.12, 57.375],
    ),
    # init: "random"; the file of an encoder; or that of a whole tracker, to train it further.
    backbone=dict(preset="vit_tiny_p16_h12", init="random", drop_path=0.1),
    network=dict(
        template_size=128,
        template_factor=2.0,  # side of the square cut out, in roots of the box's area
        search_size=256,
        search_factor=4.0,
        # Three branches 192 -> 256 -> 128 -> 64 -> 32: 2.5 M of 8.0 M parameters.
        head="conv",
        head_channels=256,
        # Candidate elimination: 256 -> 180 -> 126 -> 89 search tokens.
        eliminate=(3, 6, 9),
        keep=0.7,
    ),
    # All tokens to epoch 20, then along half a cosine to `keep` at epoch 100; the authors count
    # epochs from 1, KeepRate from 0.
    keep_schedule=dict(begin=19, end=99),
    # Loss weights are OSTrack's: focal 1, GIoU 2, L1 5. The box judged is that of the cell with the
    # highest score.
    box_of="prediction",
)

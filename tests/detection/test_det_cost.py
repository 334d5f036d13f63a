"""Work of detectors, against hand arithmetic."""

from lightvit_bench.openmmlab.model import model_cost

CONFIG = "configs/coco/mask_rcnn_random_tiny.py"


def encoder_macs(side, window, global_blocks, width=192, depth=12):
    """Patches, linear layers, and attention in windows that are filled up to whole ones."""
    cells = side // 16
    tokens = cells**2
    whole = -(-cells // window) * window
    linear = 0
    attention = 0
    for block in range(depth):
        seen = tokens if block in global_blocks else whole**2
        keys = tokens if block in global_blocks else window**2
        linear += seen * 4 * width**2 + tokens * 8 * width**2
        attention += 2 * seen * keys * width
    return 3 * 256 * width * tokens + linear + attention


def test_backbone_without_relative_positions(repo, monkeypatch):
    monkeypatch.chdir(repo)
    cost = model_cost(CONFIG, (640, 640), ["model.backbone.rel_pos=False"])
    assert cost.backbone.macs == encoder_macs(640, 14, (2, 5, 8, 11))
    # position table and patches, blocks
    table = 196 * 192
    assert cost.backbone.params == table + 769 * 192 + 12 * (12 * 192**2 + 13 * 192)


def test_neck_and_heads(repo, monkeypatch):
    """Their parameters by hand; of the work at 64 px the RPN's, the rest hangs on the proposals."""
    monkeypatch.chdir(repo)
    options = ["model.backbone.rel_pos=False", "model.backbone.rel_pos_size=64"]
    cost = model_cost(CONFIG, (64, 64), options)
    conv, normed = 256 * 256 * 9, 2 * 256
    up, half_up = 192 * 96 * 4 + 96, 96 * 48 * 4 + 48
    neck = up + 2 * 96 + half_up + up + 256 * (48 + 96 + 192 + 192) + 4 * (conv + 2 * normed)
    rpn = 2 * (conv + 256) + 257 * 3 * (1 + 4)
    box = 4 * (conv + normed) + (256 * 49 + 1) * 1024 + 1025 * (81 + 4 * 80)
    mask = 4 * (conv + normed) + 256 * 256 * 4 + 256 + 257 * 80
    assert cost.total.params - cost.backbone.params == neck + rpn + box + mask
    pyramid = 16**2 + 8**2 + 4**2 + 2**2 + 1
    assert cost.total.macs > cost.backbone.macs + pyramid * (2 * conv + 256 * 15)

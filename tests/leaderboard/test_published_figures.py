"""Every published figure stands in its own column: row by row against the notes, where they are,
and a committed choice of figures everywhere; sizes of our configs are counted again."""

import re

import pytest

from lightvit_bench.leaderboard.published import read_published

# Row, field, figure. A field is a metric, a count (in millions, MACs in 10^9), or "device unit".
FIGURES = [
    ("mae-lite/imagenet/vit-tiny-d2mae-improved-rpe-1000e", "top1", 79.4),
    ("mae-lite/imagenet/vit-tiny-mae-improved-300e", "top1", 78.0),
    ("mae-lite-poster/cifar100/vit-tiny-dino", "top1", 84.7),
    ("mae-lite-poster/inat18/vit-tiny-mocov3", "top1", 54.5),
    ("mae-lite/ade20k/fpn-deit-ft-rpe", "miou", 41.5),
    ("mae-lite/ade20k/fpn-d2mae-ft", "miou", 42.8),
    ("tinymim/ade20k/tinymim-star-t", "backbone_parameters", 5.8),
    ("emov2/ade20k/emov2-5m-segformer", "parameters", 5.3),
    ("emov2/ade20k/emov2-5m-fpn", "miou", 42.4),
    ("emov2/ade20k/emov2-5m-deeplabv3", "parameters", 9.9),
    ("emov2/ade20k/emov2-5m-pspnet", "miou", 39.1),
    ("efficientvit/ade20k/efficientvit-b1", "macs", 3.1),
    ("efficientvit/ade20k/efficientvit-b1", "NVIDIA Jetson Nano ms", 110),
    ("efficientvit/ade20k/efficientvit-b2", "macs", 9.1),
    ("paddleseg/ade20k/pp-mobileseg-b", "Qualcomm Snapdragon 855 CPU ms", 265),
    ("mmseg/ade20k-ms/segnext-t", "miou", 42.59),
    ("mmseg/ade20k/segformer-b0", "miou", 37.41),
    ("mmseg/ade20k-ms/segformer-b0", "miou", 38.34),
    ("mmseg/ade20k-ms/mae-base-upernet", "miou", 48.70),
    ("topformer/ade20k/topformer-b-2x8", "miou", 38.3),
    ("topformer/ade20k/topformer-s", "parameters", 3.1),
    ("topformer/ade20k/topformer-t", "miou", 34.6),
    ("seaformer/ade20k/seaformer-t", "backbone_parameters", 1.8),
    ("seaformer/ade20k/seaformer-b", "backbone_parameters", 8.7),
    ("seaformer/ade20k/seaformer-l", "miou", 43.8),
    ("eupe/ade20k-frozen/pe-spatial-t", "miou", 28.5),
    ("eupe/ade20k-frozen/pe-core-t", "miou", 22.0),
    ("eupe/ade20k-frozen/dinov3-convnext-t", "miou", 42.7),
    ("vit-adapter/ade20k-ms/vit-adapter-t-deit", "miou", 43.6),
    ("cgrseg/ade20k/cgrseg-t", "parameters", 9.4),
    ("cgrseg/ade20k/cgrseg-b", "parameters", 18.1),
    ("segman/ade20k/segman-t", "parameters", 6.4),
    ("pvt/ade20k/pvt-tiny", "backbone_parameters", 13.2),
    ("lightly/coco-stuff/vitt16-eomt", "miou", 37.9),
    ("lightly/coco-stuff/vitt32plus-eomt", "parameters", 7.7),
    ("mae-lite/coco/vitdet-d2mae", "box_ap", 42.5),
    ("mae-lite/coco/vitdet-d2mae", "mask_ap", 37.5),
    ("edgecrafter/coco/ecseg-s", "mask_ap", 43.0),
    ("ultralytics/coco/yolo26n-seg", "mask_ap", 33.9),
    ("repvit/coco/repvit-m3", "box_ap", 41.1),
    ("repvit/coco/repvit-m3", "mask_ap", 38.3),
    ("mae-lite/lasot/ostrack-d2mae", "not named frames/s", 41),
    ("mast/lasot/mast-tiny", "precision", 67.2),
    ("mast/lasot/mast-tiny", "norm_precision", 72.2),
    ("mast/lasot/mast-small", "Raspberry Pi 5 frames/s", 7.5),
    ("mast/lasot/hit-base", "NVIDIA Jetson AGX frames/s", 61),
    ("mast/lasot/fear-xs", "Intel i9-9900K frames/s", 60),
    ("mast/lasot/litetrack-b4", "Intel i5-11400F frames/s", 27),
    ("mast/got10k/fermt", "ao", 69.6),
    ("loretrack/lasot/loretrack-96", "Intel i9-11900K frames/s", 31),
    ("loretrack/lasot/loretrack-128", "Intel i9-11900K frames/s", 25),
    ("loretrack/lasot-ext/loretrack-128", "auc", 46.4),
    ("mst/lasot/mst", "parameters", 7.80),
    ("mst/lasot/mst", "precision", 70.1),
    ("mst/lasot/mst", "norm_precision", 75.2),
    ("mst/lasot/mst", "not named frames/s", 55),
    ("uetrack/lasot/uetrack-b", "Intel i9-14900KF frames/s", 56),
    ("opencv/lasot/vittrack", "norm_precision", 54.7),
    ("opencv/lasot/vittrack", "Intel i3-10105 ms", 3.84),
    ("opencv/lasot/nanotrack", "precision", 45.0),
    ("nanotrack/got10k-val/nanotrack-v3", "ao", 71.9),
    ("nanotrack/got10k-val/nanotrack-v3", "parameters", 0.541),
    ("lightfc/lasot/lightfc", "precision", 64.1),
    ("mixformerv2/lasot/fear-l", "auc", 57.9),
    ("uav/uav123/eatrack-deit", "auc", 68.1),
    ("uav/uav123/eatrack-deit", "NVIDIA Jetson TX2 frames/s", 33.6),
    ("uav/uav123/sglatrack-deit", "auc", 66.9),
    ("uav/uav123/sglatrack-deit", "parameters", 5.81),
    ("uav/uav123/ortrack-deit", "auc", 66.4),
    ("uav/uav123/avtrack-deit", "auc", 66.8),
    ("drone-videos/drone-videos/mast-tiny", "auc", 59.0),
]
COUNTS = {"backbone_parameters": 6, "parameters": 6, "backbone_macs": 9, "macs": 9}


@pytest.fixture(scope="module")
def by_key(repo):
    return {row.key: row for row in read_published(repo / "leaderboard" / "published")}


def lines_of(shared, name, start, end, after=""):
    """The rows of a Markdown table of the notes: what their first cell begins with -> cells."""
    text = (shared / "facts" / name).read_text()
    first = text.index(start, text.index(after))
    lines = [line for line in text[first : text.index(end, first)].splitlines() if "|" in line]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].replace("**", "").strip(): row for row in cells[2:] if len(row) > 3}


def line_of(lines, start):
    found = [cells for name, cells in lines.items() if name.startswith(start)]
    assert len(found) == 1, start
    return found[0]


def plain(cell):
    """A cell without what is in brackets; a figure from memory is as good as none."""
    cell = re.sub(r"[\d.]+ ?[MG]?(?: total)? \((?:m|mem)[,)]", "–", cell)
    return re.sub(r"\(.*?\)", "", cell).replace("*", "")


def figures(cell, unit=""):
    """ "40.4 / – / 39.7" -> the figures, None for those that are not there."""
    parts = [re.search(rf"(\d+(?:\.\d+)?) ?{unit}", part) for part in plain(cell).split("/")]
    return [float(part[1]) if part else None for part in parts]


def each(values, count):
    """One for each of `count` models: all have one figure where the cell has one."""
    assert len(values) in (1, count), values
    return values * count if len(values) == 1 else values


def score(row, key):
    found = row.scores.get(key) if row else None
    return found.mean if found else None


# --- everywhere


@pytest.mark.parametrize(("key", "name", "figure"), FIGURES)
def test_a_figure_is_in_its_column(by_key, key, name, figure):
    row = by_key[key]
    if name in row.scores:
        assert row.scores[name].mean == figure
    elif name in COUNTS:
        assert getattr(row.size, name) == round(figure * 10 ** COUNTS[name])
        other = {"parameters": "backbone_parameters", "macs": "backbone_macs"}.get(name)
        other = other or name.removeprefix("backbone_")
        assert getattr(row.size, other) is None
    else:
        device, unit = name.rsplit(" ", 1)
        assert (device, unit, figure) in {(s.device, s.unit, s.value) for s in row.speeds}


def test_figures_are_looked_at_once():
    assert len({(key, name) for key, name, _ in FIGURES}) == len(FIGURES) > 60


def test_the_benchmark_that_names_no_metric_says_so(by_key):
    rows = [row for key, row in by_key.items() if key.startswith("drone-videos/")]
    assert len(rows) == 9
    for row in rows:
        assert any("is an assumption" in remark for remark in row.remarks)


# --- row by row, where the notes are

ADE = {  # line -> rows; "/total" where a line does not say what its parameters count
    "TinyMIM*-T": ["tinymim/ade20k/tinymim-star-t"],
    "TinyMIM-T": ["tinymim/ade20k/tinymim-t", "tinymim/ade20k/tinymim-t-ft"],
    "MobileViTv3-S": ["quoted-by-tinymim/ade20k/mobilevitv3-s"],
    "EMOv2-5M": ["emov2/ade20k/emov2-5m-segformer"],
    "EfficientViT-B1": ["efficientvit/ade20k/efficientvit-b1"],
    "D2-MAE": ["mae-lite/ade20k/fpn-d2mae-ft"],
    "MobileViTv1-S": ["quoted-by-tinymim/ade20k/mobilevitv1-s"],
    "PP-MobileSeg-B": ["paddleseg/ade20k/pp-mobileseg-b"],
    "SegNeXt-T": ["mmseg/ade20k/segnext-t"],
    "TopFormer-B": ["topformer/ade20k/topformer-b"],
    "SeaFormer-S": ["seaformer/ade20k/seaformer-s"],
    "MoCo ViT-T": ["tinymim/ade20k/moco-vit-t"],
    "CiT-T": ["tinymim/ade20k/cit-t", "tinymim/ade20k/deit-t", "tinymim/ade20k/mae-vit-t"],
    "SegFormer-B0": ["mmseg/ade20k/segformer-b0"],
    "EUPE-ViT-T": ["eupe/ade20k-frozen/eupe-vit-t"],
    "ViT-Adapter-T (AugReg": ["vit-adapter/ade20k/vit-adapter-t-augreg"],
    "CGRSeg-T": ["cgrseg/ade20k/cgrseg-t"],
    "SegMAN-T": ["segman/ade20k/segman-t"],
    "ViT-Adapter-T (DeiT": ["vit-adapter/ade20k/vit-adapter-t-deit"],
    "RepViT-M3": ["repvit/ade20k/repvit-m3", "repvit/ade20k/repvit-m2"],
    "EdgeViT-XS": ["quoted-by-tinymim/ade20k/edgevit-xs"],
    "SeaFormer-B": ["seaformer/ade20k/seaformer-b", "seaformer/ade20k/seaformer-l"],
    "SegFormer-B1": ["mmseg/ade20k/segformer-b1"],
    "Swin": ["quoted-by-tinymim/ade20k/swin-mini"],
    "PVT-Tiny": ["pvt/ade20k/pvt-tiny"],
}
COCO = {
    "ECDet-S": ["edgecrafter/coco/ecdet-s", "edgecrafter/coco/ecseg-s"],
    "DEIMv2-S": ["deimv2/coco/deimv2-s"],
    "LTDETRv2-s": ["lightly/coco/ltdetrv2-s", "lightly/coco/vitt16-ltdetr"],
    "YOLO26s": ["ultralytics/coco/yolo26s-seg", "ultralytics/coco/yolo26n-seg"],
    "DEIMv2-N": [f"deimv2/coco/deimv2-{size}" for size in ("n", "pico", "femto", "atto")],
    "ViT-Adapter-T": ["vit-adapter/coco/vit-adapter-t"],
    "EMOv2-5M": [f"emov2/coco/emov2-5m-{head}" for head in ("mask-rcnn", "retinanet", "ssdlite")],
    "mae-lite ViTDet-T": ["mae-lite/coco/vitdet-dmae"],
    "same": [f"mae-lite/coco/vitdet-{start}" for start in ("deit", "mae", "mocov3")],
    "RepViT-M3": ["repvit/coco/repvit-m3", "repvit/coco/repvit-m2"],
}
TRACKERS = {
    "OSTrack-256": ["mast/ostrack-256"],
    "OSTrack-384": ["ostrack/ostrack-384"],
    "MixFormerV2-B": ["mixformerv2/mixformerv2-b"],
    "MixFormerV2-S": ["mast/mixformerv2-s"],
    "HiT-Tiny": ["mast/hit-tiny", "mast/hit-small", "mast/hit-base"],
    "LiteTrack": ["mast/litetrack-b4", *(f"litetrack/litetrack-b{n}" for n in (6, 8, 9))],
    "SMAT": ["smat/smat"],
    "E.T.Track": ["mast/e.t.track"],
    "FEAR-XS": ["mast/fear-xs"],
    "LightTrack": ["mast/lighttrack"],
    "HCAT": ["tstrack/hcat"],
    "LoReTrack-128": ["loretrack/loretrack-128"],
    "LoReTrack-96": [f"loretrack/loretrack-{side}" for side in (96, 192, 256)],
    "AsymTrack": [f"mast/asymtrack-{size}" for size in "tsb"],
    "FARTrack": [f"mast/fartrack-{size}" for size in ("pico", "nano", "tiny")],
    "D2-MAE": ["mae-lite/ostrack-d2mae"],
    "MST": ["mst/mst"],
    "TSTrack": ["tstrack/tstrack", "tstrack/tstrack-lite"],
    "SUTrack": ["mast/sutrack-t"],
    "UETrack": [f"uetrack/uetrack-{size}" for size in "tsb"],
    "MCITrack": ["mast/mcitrack-t"],
    "SPMTrack": ["spmtrack/spmtrack-b"],
    "DyTrack": ["dytrack/dytrack-fast"],
    "HiT-Dy": ["dyhit/dyhit-fastest"],
    "CompressTracker-4": ["compresstracker/compresstracker-4"],
    "HKDT": ["hkdt/hkdt"],
    "OpenCV VitTrack": ["opencv/vittrack"],
}
NO_ROWS = {"LSNet etc.", "FEAR-L 2022", "LightFC", "SiamABC", "LMTrack", "NanoTrack"}  # or FIGURES
OTHER_COUNTS = {"D2-MAE"}  # ours are of the config
ABOUT = {"D2-MAE", "UETrack", "FEAR-XS"}  # counts that are not one figure a model


def check_all_are_listed(lines, *listed):
    known = [*NO_ROWS, *(name for one in listed for name in one)]
    assert [line for line in lines if not line.startswith(tuple(known))] == []


@pytest.mark.parametrize("line", ADE)
def test_a_line_of_ade20k(by_key, shared, line):
    lines = lines_of(shared, "anchors.md", "Backbone <=", "Backbone or total")
    lines |= lines_of(shared, "anchors.md", "Backbone or total", "Just above")
    check_all_are_listed(lines, ADE)
    _, miou, counted, flops, *_ = line_of(lines, line)
    keys = ADE[line]
    many = re.findall(r"ms(?:\+flip)? (\d+\.\d+)", miou)
    single = re.sub("paper.*|with .*", "", plain(miou)).replace(";", "/").strip("/ ")
    for key, figure in zip(keys, each(figures(single), len(keys)), strict=True):
        assert score(by_key[key], "miou") == figure, key
        other = by_key.get(key.replace("/ade20k/", "/ade20k-ms/")) if "frozen" not in key else None
        assert score(other, "miou") == (float(many[0]) if many else None), key
    if line in OTHER_COUNTS:
        return
    whole, backbone = ("parameters", "backbone_parameters")
    if "total" not in counted:
        whole, backbone = backbone, whole
    for key, figure in zip(keys, each(figures(counted, "M"), len(keys)), strict=True):
        size = by_key[key].size
        assert getattr(size, whole) == (round(figure * 1e6) if figure else None), key
        assert getattr(size, backbone) is None, key
    work = each(figures(plain(flops).split(",")[0]) if "ms" not in flops else [None], len(keys))
    for key, figure in zip(keys, work, strict=True):
        row = by_key[key]
        told = [r for r in row.remarks if r.startswith("FLOPs")]
        if figure and "MACs" in flops:
            assert (row.size.macs, row.size.input) == (round(figure * 1e9), "3 x 512 x 512")
        elif figure:
            side = re.search(r"@(\d+)", flops)
            assert len(told) == 1 and f": {figure} G" in told[0], key
            assert side is None or f"G at {side[1]} px" in told[0], key
        else:
            assert told == [] and row.size.macs is None, key
    if "iPhone" in flops:
        times = figures(flops.split("12", 1)[1])
        assert [by_key[key].speeds[0].value for key in keys] == times


@pytest.mark.parametrize("line", COCO)
def test_a_line_of_coco(by_key, shared, line):
    lines = lines_of(shared, "anchors.md", "### 1b", "Recipe behind")
    check_all_are_listed(lines, COCO)
    _, box, mask, counted, work, *_ = line_of(lines, line)
    keys = COCO[line]
    boxes, masks = figures(box), figures(mask)
    if line == "ECDet-S":  # one line, two networks
        boxes, masks = [*boxes, None], [None, *masks]
    for key, b, m in zip(keys, each(boxes, len(keys)), each(masks, len(keys)), strict=True):
        assert (score(by_key[key], "box_ap"), score(by_key[key], "mask_ap")) == (b, m), key
    if counted:
        for key, figure in zip(
            keys, each(figures(counted.replace("M", "")), len(keys)), strict=True
        ):
            size = by_key[key].size
            assert (size.parameters, size.backbone_parameters) == (round(figure * 1e6), None), key
    parts = [part for part in work.split(";") if re.search(r"\d", part)]
    flops = next((each(figures(p), len(keys)) for p in parts if "ms" not in p), None)
    times = next((figures(p.replace("T4", "")) for p in parts if "ms" in p), [])
    for i, key in enumerate(keys):
        told = [r.split(": ")[1] for r in by_key[key].remarks if r.startswith("FLOPs")]
        assert [float(one.split(" G")[0]) for one in told] == ([flops[i]] if flops else []), key
    there = [speed.value for key in keys for speed in by_key[key].speeds]
    assert there == times


@pytest.mark.parametrize("line", TRACKERS)
def test_a_line_of_trackers(by_key, shared, line):
    lines = lines_of(shared, "tracking.md", "### 1b", "UAV family")
    check_all_are_listed(lines, TRACKERS)
    _, lasot, got, tn, counts, cpu, *_ = line_of(lines, line)
    keys = [key.split("/") for key in TRACKERS[line]]

    def row(i, protocol):
        return by_key.get(f"{keys[i][0]}/{protocol}/{keys[i][1]}")

    if len(keys) == 1:
        names = ("auc", "precision", "norm_precision")
        values = figures(lasot.split(";")[0])
        values += [None] * (3 - len(values))
        if line in ("MixFormerV2-S", "SMAT", "OpenCV VitTrack"):  # P before P_norm here too
            assert values[0] is not None
        for name, value in zip(names, values, strict=True):
            there = score(row(0, "lasot"), name)
            assert there == value or (value is None and keys[0][0] == "mast"), (name, value)
    elif line != "HiT-Tiny":  # MaST's table has others, and says so
        for i, value in enumerate(figures(lasot)):
            assert score(row(i, "lasot"), "auc") == value
    for cell, protocol, name in ((got, "got10k", "ao"), (tn, "trackingnet", "auc")):
        values = each(figures(cell), len(keys))
        for i, value in enumerate(values):
            assert score(row(i, protocol), name) == value, (protocol, i)
    millions = re.match(r"[\d./ B]*\d ?M(?!B)", counts)
    if millions and "(m)" not in counts and line not in ABOUT:
        told = figures(re.sub(r"B\d ", "", millions[0]))
        for i, value in enumerate(told):
            one = row(i, "lasot") or row(i, "got10k")
            assert one.size.parameters == round(value * 1e6) and not one.size.backbone_parameters
    cpu = re.sub(r"\d+ \(m\)|AGX \d+", "", cpu)
    named = re.search(r"i\d-\w+", cpu)
    cpus = [s for i in range(len(keys)) for s in (row(i, "lasot") or row(i, "got10k")).speeds]
    for value in re.findall(r"(?<![\w.-])\d+(?:\.\d+)?(?= ?[/(;]| PyTorch| ONNX| FPS|$)", cpu):
        devices = {s.device for s in cpus if s.value == float(value) and s.kind == "cpu"}
        if named:
            assert any(device.endswith(named[0]) for device in devices), (value, devices)
        elif line not in ("FARTrack", "LoReTrack-96", "MCITrack"):  # named in their own READMEs
            assert "not named" in devices, (value, devices)


# --- sizes that are ours


@pytest.mark.parametrize(
    ("key", "side"),
    [
        ("mae-lite/ade20k/fpn-d2mae", 512),
        ("mae-lite/coco/vitdet-d2mae", 640),
        ("mae-lite/lasot/ostrack-d2mae", 256),
    ],
)
def test_sizes_of_our_recipes_are_those_of_the_config(by_key, repo, key, side):
    import torch

    from lightvit_bench.bench.flops import count_cost
    from lightvit_bench.openmmlab.config import load_config
    from lightvit_bench.openmmlab.model import build_model, model_cost

    row, path = by_key[key], str(repo / by_key[key].config)
    size, model = row.size, build_model(load_config(path, []))
    backbone = model.network.backbone if row.task == "tracking" else model.backbone
    counted = [sum(one.numel() for one in part.parameters()) for part in (backbone, model)]
    assert [size.backbone_parameters, size.parameters] == counted
    if row.task == "detection":  # the work of the whole takes seconds to count
        cost = count_cost(backbone, torch.zeros(1, 3, side, side))
        assert size.backbone_macs == cost.macs < size.macs
    else:
        cost = model_cost(path, (side, side))
        assert (size.backbone_macs, size.macs) == (cost.backbone.macs, cost.total.macs)
    assert str(side) in size.input
    assert any(f"counted of {row.config} (published without)" in one for one in row.remarks)


def test_rows_of_one_recipe_have_one_size(by_key):
    rows = [row for row in by_key.values() if row.config or row.key.startswith("mae-lite/ade20k/")]
    for table in ("ade20k", "coco", "lasot"):
        sizes = {row.size for row in rows if f"/{table}/" in row.key}
        assert len(sizes) == 1 and None not in vars(sizes.pop()).values()

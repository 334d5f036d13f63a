"""The published rows: none lost, none from memory, each with its origin; and refused files."""

import re
from collections import Counter

import pytest
import yaml

from lightvit_bench.errors import BadDataError, MissingDataError
from lightvit_bench.leaderboard.boards import boards_of
from lightvit_bench.leaderboard.published import CPU_REMARK, read_published
from lightvit_bench.leaderboard.tasks import TASKS

FIGURE = re.compile(r"(?<![\w.,/-])\d{1,3}\.\d+(?!\w|\.\d)")
FROM_MEMORY = re.compile(r"(\d+(?:\.\d+)?)(?: ?[MG])? \((?:m|mem)[,)]")


@pytest.fixture(scope="module")
def rows(repo):
    return read_published(repo / "leaderboard" / "published")


@pytest.fixture(scope="module")
def by_key(rows):
    return {row.key: row for row in rows}


def facts(shared, name, start, end):
    """A part of the notes that the rows were entered from."""
    text = (shared / "facts" / name).read_text()
    first = text.index(start)
    return text[first : text.index(end, first)]


def table(text):
    """The cells of a Markdown table's rows, with or without bars at the ends."""
    lines = [line for line in text.splitlines() if line.count("|") >= 2]
    cells = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if not set("".join(row)) <= set("-: ")]


def said(rows):
    """Every figure of some rows: scores and what remarks quote."""
    scores = {f"{score.mean:g}" for row in rows for score in row.scores.values()}
    quoted = {f"{float(n):g}" for row in rows for r in row.remarks for n in FIGURE.findall(r)}
    return scores | quoted


def of(rows, *datasets):
    return [row for row in rows if row.dataset in datasets]


# --- what is there


def test_every_row_says_what_it_is(rows, repo):
    assert len(rows) > 300
    assert len({row.key for row in rows}) == len(rows)
    for row in rows:
        assert row.origin == "published" and row.source and ", " in row.source, row.key
        assert row.url is None or row.url.startswith("https://")
        assert row.scores and all(TASKS[row.task].metric(key) for key in row.scores)
        assert row.protocol and row.dataset and row.split and row.complete
        assert row.config is None or (repo / row.config).is_file(), row.key
        for speed in row.speeds:
            assert speed.device, row.key
            assert speed.kind != "cpu" or CPU_REMARK in row.remarks, row.key


def test_configs_are_named_only_by_the_recipe_they_are(rows):
    named = {row.config: row.key for row in rows if row.config}
    assert len(named) == sum(row.config is not None for row in rows)  # one row each
    assert named["configs/ade20k/fpn_d2mae_tiny.py"] == "mae-lite/ade20k/fpn-d2mae"
    assert named["configs/coco/mask_rcnn_random_tiny.py"] == "mae-lite-poster/coco/vitdet-random"
    assert named["configs/lasot/ostrack_d2mae_tiny.py"] == "mae-lite/lasot/ostrack-d2mae"
    assert len(named) == 10
    assert "configs/ade20k/fpn_deit_tiny.py" not in named  # 3 heads; the published has 12


def test_the_qualifications_stand_with_their_rows(by_key):
    def remarks(key):
        return " ".join(by_key[key].remarks)

    headline = remarks("mae-lite/ade20k/fpn-d2mae-ft")
    assert "fine-tuned with labels for 1,000 epochs" in headline
    assert "worth 1.0" in headline and "1.3" in headline
    assert "--cfg-options init=" in headline
    assert "about 0.3" in remarks("mae-lite/imagenet/vit-tiny-dmae-improved-300e")
    assert "37.3" in remarks("mae-lite/coco/vitdet-dmae")
    lasot = by_key["mae-lite/lasot/ostrack-d2mae"]
    assert "no released script" in remarks(lasot.key)
    assert [(s.device, s.kind, s.value) for s in lasot.speeds] == [("not named", "cpu", 41)]
    assert "labels" in remarks("tinymim/ade20k/tinymim-star-t")
    assert "frozen" in remarks("eupe/ade20k-frozen/eupe-vit-t")
    assert by_key["eupe/ade20k-frozen/eupe-vit-t"].protocol == "ade20k-val@frozen-linear"
    for key in ("smat/lasot/smat", "mixformerv2/lasot/fear-l", "lightfc/lasot/lightfc"):
        assert "erived" in remarks(key)


def test_the_authors_own_figures(by_key):
    main = {
        "imagenet/vit-tiny-dmae-improved-300e": 78.4,
        "imagenet/vit-tiny-d2mae-improved-300e": 78.7,
        "imagenet/vit-tiny-d2mae-improved-rpe-1000e": 79.4,
        "imagenet/hiera-tiny-mae-300e": 78.5,
        "imagenet/hiera-tiny-dmae-300e": 78.9,
        "imagenet/swin-48-simmim-300e": 77.4,
        "imagenet/swin-48-simmim-distilled-300e": 77.8,
        "imagenet/vit-small-scratch-300e": 80.2,
        "imagenet/vit-small-mae-300e": 82.1,
        "imagenet/vit-small-dmae-300e": 82.5,
        "ade20k/fpn-deit": 38.0,
        "ade20k/fpn-d2mae": 39.0,
        "ade20k/fpn-deit-ft-rpe": 41.5,
        "ade20k/fpn-d2mae-ft": 42.8,
        "coco/vitdet-deit": 40.4,
        "coco/vitdet-mae": 39.9,
        "coco/vitdet-mocov3": 39.7,
        "coco/vitdet-dmae": 42.3,
        "coco/vitdet-d2mae": 42.5,
        "lasot/ostrack-deit": 64.1,
        "lasot/ostrack-dmae": 65.8,
        "lasot/ostrack-d2mae": 66.1,
    }
    for key, figure in main.items():
        row = by_key[f"mae-lite/{key}"]
        assert row.scores[TASKS[row.task].main.key].mean == figure, key
    masks = {"deit": 35.5, "mae": 35.4, "mocov3": 35.1, "dmae": 37.4, "d2mae": 37.5}
    for start, figure in masks.items():
        assert by_key[f"mae-lite/coco/vitdet-{start}"].scores["mask_ap"].mean == figure


def test_scales_and_toolkits_are_never_on_one_board(rows):
    for board in boards_of(rows):
        assert len({row.protocol for row in board.rows}) == 1
    scales = {row.protocol for row in rows if row.dataset == "ADE20K"}
    assert scales == {
        f"ade20k-val@{mode}" for mode in ("single-scale", "multi-scale-flip", "frozen-linear")
    }
    assert {row.protocol for row in of(rows, "LaSOT")} == {"lasot-ope-test280@as-published"}


def test_every_protocol_is_explained(rows, repo):
    text = (repo / "docs/measuring.md").read_text()
    for protocol in {row.protocol for row in rows}:
        name, rule = protocol.split("@")
        assert f"`{protocol}`" in text or f"`{name}`" in text or f"`@{rule}`" in text, protocol


def test_a_figure_keeps_its_own_source(by_key):
    speeds = {(s.device, s.runtime): s for s in by_key["mast/lasot/hit-tiny"].speeds}
    assert speeds["Raspberry Pi 5", "ONNX Runtime 1.20.1"].source is None
    assert speeds["Intel i9-9900K", "ONNX Runtime"].source == "HiT repository, README"
    assert speeds["Intel i9-9900K", "ONNX Runtime"].value == 125
    assert by_key["mast/lasot/mast-tiny"].size.macs == 836_000_000
    assert by_key["mast/lasot/mast-tiny"].size.input == "128 template, 256 search"
    assert by_key["mae-lite/imagenet/vit-tiny-d2mae-improved-300e"].size.parameters == 5_717_416


def test_what_is_defined_is_used(repo):
    files = [yaml.safe_load(p.read_text()) for p in (repo / "leaderboard/published").glob("*.yml")]
    tables = [table for one in files for table in one.get("tables", [])]
    entries = [row for table in tables for row in table["rows"]]
    devices = {k: v for one in files for k, v in one.get("devices", {}).items()}
    used = {
        "protocols": {name for row in entries for name in row["scores"]},
        "devices": {name for row in entries for name in row.get("speeds", {})},
        "sources": {part["source"] for part in (*tables, *entries) if "source" in part}
        | {device["source"] for device in devices.values() if "source" in device},
    }
    for kind, names in used.items():
        assert {name for one in files for name in one.get(kind, {})} == names, kind


# --- nothing lost: against the notes, where they are


def test_the_imagenet_table_is_whole(rows, shared):
    cells = [row[3] for row in table(facts(shared, "recipes.md", "### 1.2", "### 1.3"))[1:]]
    wanted = Counter(
        f"{float(n):g}" for cell in cells for n in FIGURE.findall(re.sub(r"\(.*?\)", "", cell))
    )
    tiny = [r for r in of(rows, "ImageNet-1K") if r.key.startswith("mae-lite/imagenet/vit-tiny")]
    assert Counter(f"{row.scores['top1'].mean:g}" for row in tiny) == wanted
    assert sum(wanted.values()) >= 17
    quoted = {n for cell in cells for n in re.findall(r"\d\d\.\d{3}", cell)}
    assert quoted and quoted <= said(tiny)


@pytest.mark.parametrize(
    ("start", "end", "datasets", "not_results"),
    [
        ("### 1.3", "### 1.4", ("ImageNet-1K",), {".75"}),
        ("### 1.4", "### 1.5", ("ImageNet-1K",), set()),
        ("### 1.5", "### 1.6", ("COCO",), set()),
        ("### 1.6", "### 1.7", ("ADE20K", "ImageNet-1K"), {"5.8", "2301.01296"}),
        ("### 1.7", "### 1.8", ("LaSOT",), {"2308.06904", "2506.20381", "2305.15896"}),
    ],
)
def test_each_figure_of_a_section_is_in_a_row(rows, shared, start, end, datasets, not_results):
    text = facts(shared, "recipes.md", start, end).split("\n", 1)[1]
    # "40.4/35.5" are two
    figures = {f"{float(n):g}" for n in FIGURE.findall(text.replace("/", " / ")) if "." in n}
    figures -= {f"{float(n):g}" for n in not_results}
    assert len(figures) >= 3
    assert figures <= said(of(rows, *datasets)), figures - said(of(rows, *datasets))


def test_the_sizes_are_with_their_rows(rows, shared):
    text = facts(shared, "recipes.md", "### 1.8", "### 1.9")
    wanted = set(re.findall(r"\d{1,3}(?:,\d{3})+", text))
    sizes = [row.size for row in rows]
    there = {f"{n:,}" for s in sizes for n in (s.parameters, s.backbone_parameters) if n}
    there |= {n for row in rows for r in row.remarks for n in re.findall(r"\d{1,3}(?:,\d{3})+", r)}
    assert len(wanted) >= 11 and wanted <= there
    assert any(row.size.parameters == 7_300_000 for row in rows if "Swin" in row.model)


def test_the_transfer_table_is_whole(rows, shared):
    lines = table(facts(shared, "recipes.md", "### 1.10", "## 2"))
    names = ("Flowers", "Pets", "Aircraft", "Cars", "CIFAR-100", "iNat18")
    starts = ("random", "deit", "mocov3", "mae", "dino", "simmim", "dmae")
    assert len(lines) == 1 + len(starts)
    keys = {row.key: row for row in rows}
    for line, start in zip(lines[1:], starts, strict=True):
        for name, figure in zip(names, line[1:7], strict=True):
            row = keys[f"mae-lite-poster/{name.lower().replace('-', '')}/vit-tiny-{start}"]
            assert row.dataset == name and row.scores["top1"].mean == float(figure)
        coco = [row for row in of(rows, "COCO") if row.key.endswith(f"vitdet-{start}")]
        assert [(r.scores["box_ap"].mean, r.scores["mask_ap"].mean) for r in coco] == [
            (float(line[7]), float(line[8]))
        ]
    poster = facts(shared, "recipes.md", "ImageNet fine-tuning on the same poster", "Attention")
    assert {f"{float(n):g}" for n in FIGURE.findall(poster)} <= said(of(rows, "ImageNet-1K"))


def test_the_trackers_of_one_protocol_are_whole(by_key, shared):
    lines = table(facts(shared, "tracking.md", "### 1a", "### 1b"))[1:]
    assert len(lines) == 25
    devices = ("Raspberry Pi 5", "Apple M4 CPU", "Intel i9-14900", "NVIDIA Jetson Orin Nano")
    devices = (*devices, "NVIDIA RTX 3090")
    for line in lines:
        name = re.split(r" 20\d\d| \(", line[0].replace("*", ""))[0].strip().lower()
        row = by_key[f"mast/lasot/{name}"]
        metrics = ("auc", "norm_precision", "precision")
        for key, figure in zip(metrics, line[1].split(" / "), strict=False):
            assert ("–" == figure) == (key not in row.scores), name
            assert "–" == figure or row.scores[key].mean == float(figure), name
        for where, key, figure in (("trackingnet", "auc", line[2]), ("got10k", "ao", line[3])):
            other = by_key.get(f"mast/{where}/{name}")
            assert (other is None) == (figure == "–"), name
            assert other is None or other.scores[key].mean == float(figure), name
        ours = [s for s in row.speeds if s.source is None and s.runtime == "ONNX Runtime 1.20.1"]
        assert {s.device: s.value for s in ours} == {
            d: float(v) for d, v in zip(devices, line[6:11], strict=True) if v != "–"
        }
        count, macs = line[4].split(" ")[0], line[5]
        assert (row.size.parameters or 0) == (0 if count == "–" else round(float(count) * 1e6))
        assert (row.size.macs or 0) == (0 if macs == "–" else round(float(macs) * 1e9))


def test_trackers_of_many_sources_are_whole(rows, shared):
    lines = table(facts(shared, "tracking.md", "### 1b", "UAV family"))[1:]
    everything = said([row for row in rows if row.task.startswith("tracking")])
    speeds = {f"{s.value:g}" for row in rows for s in row.speeds}
    assert len(lines) > 30
    for line in lines:
        for cell in line[1:4]:  # LaSOT, GOT-10k, TrackingNet
            cell = FROM_MEMORY.sub("", cell)
            for number in re.findall(r"(?<![\d.])\d\d\.\d(?!\d)", cell):
                assert f"{float(number):g}" in everything, line
        for number in re.findall(
            r"(?<![\d.])\d{2,3}(?= /| \(n/s|\Z)", FROM_MEMORY.sub("", line[5])
        ):
            assert f"{float(number):g}" in speeds, line
    uav = facts(shared, "tracking.md", "UAV family", "**Who holds")
    for number in ("66.8", "66.9", "66.4", "68.1"):
        assert number in uav and number in everything
    for number in re.findall(r" (\.\d{3})", uav):
        assert f"{float(number) * 100:g}" in everything


def test_anchors_are_whole(rows, shared):
    seg = facts(shared, "anchors.md", "### 1a", "Records on ADE20K")
    wanted = set()
    for line in table(seg):
        if line[0] == "model" or len(line) < 2:
            continue
        cells = " ".join(line[:2]).replace("/", " / ")
        wanted |= set(re.findall(r"(?<![\d.])\d\d\.\d{1,2}(?![\d.M])", FROM_MEMORY.sub("", cells)))
    assert len(wanted) > 25
    assert {f"{float(n):g}" for n in wanted} <= said(of(rows, "ADE20K"))
    prose = facts(shared, "anchors.md", "Just above the class", "Records on ADE20K")
    ceilings = set(re.findall(r"(?<=[a-zA-Z0-9/)-] )\d\d\.\d{1,2}(?= \(|[,;/ -])", prose))
    assert len(ceilings) > 8
    assert {f"{float(n):g}" for n in ceilings} <= said(of(rows, "ADE20K", "COCO-Stuff"))
    coco = facts(shared, "anchors.md", "### 1b", "Recipe behind")
    figures = {
        n for line in table(coco)[1:] for cell in line[1:3] for n in re.findall(r"\d\d\.\d", cell)
    }
    assert len(figures) > 25
    assert {f"{float(n):g}" for n in figures} <= said(of(rows, "COCO"))
    related = FIGURE.findall(facts(shared, "anchors.md", "Related: ImageNet", "## 2"))
    assert {f"{float(n):g}" for n in related} <= said(of(rows, "ImageNet-1K"))


# --- nothing from memory


@pytest.mark.parametrize(("name", "end"), [("tracking.md", "## 2."), ("anchors.md", "## 2.")])
def test_no_figure_from_memory(rows, shared, name, end):
    lines = [row for row in table(facts(shared, name, "## 1", end)) if len(row) > 1]
    looked_at = 0
    for line in lines:
        figures = {float(n) for cell in line for n in FROM_MEMORY.findall(cell)}
        model = re.match(r"[a-z.]+", line[0].strip(" *").lower())[0]  # whatever its size
        for row in rows:
            if not figures or not row.model.lower().startswith(model):
                continue
            looked_at += 1
            size = row.size
            counts = (size.parameters, size.backbone_parameters, size.macs, size.backbone_macs)
            there = {score.mean for score in row.scores.values()}
            there |= {speed.value for speed in row.speeds}
            there |= {n / unit for n in counts if n for unit in (1e6, 1e9)}
            there |= {float(n) for r in row.remarks for n in FIGURE.findall(r)}
            assert not figures & there, (row.key, figures & there)
    assert looked_at > 3


def test_what_was_not_found_is_not_quoted(rows):
    unknown = ("AFFormer", "MobileViTv2", "MobileNetV4", "FastViT", "SHViT", "EfficientFormer")
    unknown = (*unknown, "TinyViT", "PVTv2", "SeaFormer++")
    assert not [r.key for r in rows for name in unknown if name.lower() in r.model.lower()]


# --- what is refused

GOOD = """\
format_version: 1
sources:
  paper: {title: A paper, url: https://arxiv.org/abs/1234.56789, licence: MIT}
devices:
  pi: {device: Raspberry Pi 5, kind: cpu, threads: 4}
protocols:
  ade: {task: segmentation, dataset: ADE20K, split: val, protocol: ade20k-val@single-scale}
  ade-ms: {task: segmentation, dataset: ADE20K, split: val, protocol: ade20k-val@multi-scale-flip}
tables:
  - key: paper
    source: paper
    where: Table 1
    recipe: {head: UPerNet, crop: 512 x 512}
    size: {input: not stated}
    remarks: [of the table]
    rows:
      - key: one
        model: One
        scores: {ade: {miou: 42.80, aacc: 81}, ade-ms: {miou: 43.1}}
        recipe: {crop: 640 x 640, pretraining_epochs: 400}
        size: {parameters: 5.7 M, macs: 0.585 G}
        speeds: {pi: 12.5}
        flops: 1.3 G at 224 px
        remarks: ["of the row: first"]
      - key: two
        model: Two
        scores: {ade: {miou: 40}}
        config: configs/two.py
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rows.yml").write_text(GOOD)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/two.py").touch()
    (tmp_path / "configs/two.txt").touch()
    return tmp_path


def read(folder):
    return read_published(folder, root=folder)


def test_a_table_gives_what_its_rows_have_in_common(folder):
    one, one_ms, two = read(folder)
    assert [row.key for row in (one, one_ms, two)] == [
        "paper/ade/one",
        "paper/ade-ms/one",
        "paper/ade/two",
    ]
    assert one.scores["miou"].mean == 42.8 and one_ms.scores["miou"].mean == 43.1
    assert one.recipe.head == "UPerNet" and one.recipe.crop == "640 x 640"
    assert one.recipe.pretraining_epochs == 400 and two.recipe.crop == "512 x 512"
    assert (one.size.parameters, one.size.macs) == (5_700_000, 585_000_000)
    assert one.size.input == "not stated" and two.size.input is None
    assert one.source == "A paper, Table 1" and one.url == "https://arxiv.org/abs/1234.56789"
    assert one.speeds[0].value == 12.5 and one.speeds[0].threads == 4
    assert one.remarks[0] == "of the row: first" and "1.3 G at 224 px" in one.remarks[1]
    assert one.remarks[2:] == ("of the table", "Licence: MIT.", CPU_REMARK)
    assert two.remarks == ("of the table", "Licence: MIT.") and two.config == "configs/two.py"


@pytest.mark.parametrize(
    ("before", "after", "row", "name", "says"),
    [
        ("format_version: 1", "format_version: 2", None, "format_version", "update lightvit_bench"),
        ("format_version: 1", "format_version: one",
         None, "format_version", "write format_version: 1"),
        ("format_version: 1", "format_version: " + "9" * 5000, None, "format_version", "write"),
        ("format_version: 1\n", "", None, "format_version", "missing"),
        ("format_version: 1\n", "format_version: 1\nrows: []\n", None, "rows", "tables"),
        ("    source: paper\n", "", "paper/one", "source", "no source"),
        ("    source: paper\n", "    source: papr\n", "paper/one", "source", "paper"),
        ("    where: Table 1\n", "", "paper/one", "where", "missing"),
        ("title: A paper, ", "", None, "title", "missing"),
        ("https://arxiv", "http://arxiv", None, "url", "https://"),
        ("        model: Two\n", "", "paper/two", "model", "missing"),
        ("        model: Two\n", "        modell: Two\n", "paper/two", "modell", "model"),
        ("configs/two.py", "configs/tow.py", "paper/ade/two", "config", "configs/tow.py"),
        ("configs/two.py", "configs", "paper/ade/two", "config", "configs"),
        ("configs/two.py", "configs/two.txt", "paper/ade/two", "config", "configs/two.txt"),
        ("configs/two.py", "configs/../configs/two.py", "paper/ade/two", "config", "below"),
        ("key: two", "key: one", "paper/ade/one", "key", "rows.yml"),
        ("key: two", "key: Two words", None, "key", "lower-case"),
        ("ade: {task: segmentation", "ade: {task: segmenting",
         "paper/one", "protocols.ade.task", "segmentation"),
        ("miou: 40", "mIoU: 40", "paper/two", "scores.ade.mIoU", "miou"),
        ("miou: 40", "miou: 140", "paper/two", "scores.ade.miou", "0 to 100"),
        ("miou: 40", "miou: -1", "paper/two", "scores.ade.miou", "0 to 100"),
        ("miou: 40", "miou: nan", "paper/two", "scores.ade.miou", "0 to 100"),
        ("miou: 40", "miou: sNaN", "paper/two", "scores.ade.miou", "0 to 100"),
        ("miou: 40", "miou: 4_0", "paper/two", "scores.ade.miou", "0 to 100"),
        ("miou: 40", "miou: [40]", "paper/two", "scores.ade.miou", "0 to 100"),
        ("{ade: {miou: 40}}", "{adee: {miou: 40}}", "paper/two", "protocol", "ade"),
        ("{ade: {miou: 40}}", "{ade: {}}", "paper/two", "scores.ade", "no figures"),
        ("{ade: {miou: 40}}", "{}", "paper/two", "scores", "no scores"),
        ("{ade: {miou: 40}}", "{ade: {miou: 40}, ade-ms: {miou: 41}}",
         "paper/two", "config", "several"),
        ("pi: 12.5", "phone: 12.5", "paper/one", "device", "pi"),
        ("pi: 12.5", "pi: 0", "paper/one", "speeds.pi", "more than 0"),
        ("device: Raspberry Pi 5, ", "", None, "devices.pi.device", "not named"),
        ("kind: cpu, ", "", None, "devices.pi.kind", "cpu"),
        ("kind: cpu, ", "kind: fpga, ", None, "devices.pi.kind", "cpu"),
        ("kind: cpu, ", "kind: cpu, unit: Hz, ", None, "devices.pi.unit", "frames/s or ms"),
        ("kind: cpu, ", "kind: cpu, where: Table 2, ", None, "devices.pi.source", "both"),
        ("    size: {input: not stated}\n", "", "paper/one", "size.input", "MACs"),
        ("5.7 M", "5.7", "paper/one", "size.parameters", "5.7 M"),
        ("5.7 M", "1" * 40, "paper/one", "size.parameters", "no count"),
        ("5.7 M", "many", "paper/one", "size.parameters", "no count"),
        ("pretraining_epochs: 400", "epochs: 400",
         "paper/one", "recipe.epochs", "pretraining_epochs"),
        ("pretraining_epochs: 400", "pretraining_epochs: -4",
         "paper/one", "recipe.pretraining_epochs", "0 or more"),
        ("pretraining_epochs: 400", "pretraining_epochs: 3.7",
         "paper/one", "recipe.pretraining_epochs", "3.7"),
        ("threads: 4", "threads: 1.9", None, "devices.pi.threads", "1.9"),
        ("threads: 4", "threads: 0", None, "devices.pi.threads", "1 or more"),
        ("threads: 4", "threads: 1e1", None, "devices.pi.threads", "1e1"),
        ("threads: 4", "threads: " + "9" * 5000, None, "devices.pi.threads", "999"),
        ("remarks: [of the table]", "remarks: of the table", "paper/one", "remarks", "list"),
        ("remarks: [of the table]", "remarks: [{of: table}]", "paper/one", "remarks", "one line"),
        ("        model: Two\n", "        model: Two\n        model: Three\n",
         None, "model", "twice"),
        ("model: Two", "model: !!python/name:os.system Two", None, "os.system", "tag"),
        ("model: Two", "model: !name Two", None, "!name", "tag"),
        ("model: Two", "model: &it Two\n        variant: *it", None, "it", "alias"),
        ("model: Two", "model:", "paper/two", "model", "one line of text"),
        ("tables:\n", "tables: []\nmore:\n", None, "more", "sources"),
        ("tables:\n", "tables: [\n", None, "the file", "no YAML"),
        ("sources:\n", "--- \nsources:\n", None, "the file", "no YAML"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused(folder, before, after, row, name, says):
    assert GOOD.count(before) >= 1
    (folder / "rows.yml").write_text(GOOD.replace(before, after, 1))
    with pytest.raises(BadDataError) as caught:
        read(folder)
    error = caught.value
    assert error.details["file"][0].startswith("rows.yml")
    assert error.details.get("row", [None])[0] == row
    assert name in error.details["field"][0] and error.details["do"][0]
    assert says in str(error)


def test_names_and_keys_are_of_all_files_together(folder):
    (folder / "more.yml").write_text(GOOD[GOOD.index("tables:") :].replace("one", "three"))
    with pytest.raises(BadDataError, match="format_version"):
        read(folder)
    text = "format_version: 1\n" + GOOD[GOOD.index("tables:") :]
    (folder / "more.yml").write_text(text.replace("key: paper", "key: other"))
    assert len(read(folder)) == 6
    (folder / "more.yml").write_text(text)
    with pytest.raises(BadDataError) as caught:
        read(folder)
    assert "more.yml" in str(caught.value) and "rows.yml" in str(caught.value)
    (folder / "more.yml").write_text("format_version: 1\nsources: {paper: {title: Again}}\n")
    with pytest.raises(BadDataError, match="sources.paper"):
        read(folder)


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"\xff\xfe\x00", b"a: " + b"[" * 500 + b"]" * 500, b"\x00"]
)
def test_a_file_that_is_none_is_refused(folder, content):
    (folder / "rows.yml").write_bytes(content)
    with pytest.raises(BadDataError) as caught:
        read(folder)
    assert caught.value.details["file"][0].startswith("rows.yml")


def test_no_folder_is_told(tmp_path):
    with pytest.raises(MissingDataError, match="nowhere"):
        read_published(tmp_path / "nowhere")

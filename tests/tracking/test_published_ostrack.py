"""Trackers from OSTrack's files, whose pickles hold objects of a program that is not here."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightvit_bench.checkpoint import sha256
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.tracking.answers import Settings
from lightvit_bench.tracking.files import load_tracker, read_tracker_manifest
from lightvit_bench.tracking.network import NetworkSpec, OneStreamTracker
from lightvit_bench.tracking.published import (
    convert_tracker,
    from_ostrack,
    looks_like_ostrack,
    read_ostrack,
    stand_ins,
)

TOOL = Path(__file__).resolve().parents[2] / "tools/convert_checkpoint.py"
NAME = "OSTrack_ep0012.pth.tar"
AS_TEST = {"preset": "vit_test", "eliminate": "none"}
THEIR_BRANCHES = {"score": "ctr", "size": "size", "offset": "offset"}


def network_of(**changes):
    torch.manual_seed(0)
    spec = {
        "preset": "vit_test", "template_size": 32, "search_size": 64, "head_channels": 16,
        "eliminate": (), **changes,
    }  # fmt: skip
    network = OneStreamTracker(NetworkSpec(**spec)).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.randn_like(tensor).abs() if "var" in name else 0.0)
    return network


def theirs(network):
    """A network's tensors under OSTrack's names."""
    state = {}
    for name, tensor in network.state_dict().items():
        part, _, rest = name.partition(".")
        if name == "template_positions":
            name = "backbone.pos_embed_z"
        elif name == "backbone.pos_embed":
            name = "backbone.pos_embed_x"
        elif part == "head":
            branch, number, rest = rest.split(".", 2)
            name = f"box_head.conv{int(number) + 1}_{THEIR_BRANCHES[branch]}.{rest}"
        state[name] = tensor.clone()
    width = network.backbone.preset.width
    state["backbone.cls_token"] = torch.randn(1, 1, width)
    state["backbone.pos_embed"] = torch.randn(1, 197, width)
    return state


def save(content, path):
    torch.save(content, path)
    return path


@pytest.fixture
def file(tmp_path):
    return save({"net": theirs(network_of())}, tmp_path / NAME)


# ----------------------------------------------------------------------------- names, sizes


def test_every_tensor_has_its_place(file):
    expected = network_of().state_dict()
    made = from_ostrack(file, **AS_TEST)
    assert made.network.state_dict().keys() == expected.keys()
    for name, tensor in made.network.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert sorted(name for names in made.dropped.values() for name in names) == [
        "backbone.cls_token", "backbone.pos_embed",
    ]  # fmt: skip
    assert made.epochs == 12 and made.recipe == "ostrack" and not made.network.training


def test_the_layout_of_the_authors(shared):
    """The names above are those of the published layout."""
    layout = json.loads((shared / "facts/layouts/ostrack_tiny.json").read_text())
    state = theirs(OneStreamTracker(NetworkSpec()))
    assert {name: list(tensor.shape) for name, tensor in state.items()} == layout


def test_the_golden_file(golden, tmp_path):
    content = golden.checkpoints()["OSTrack_ep0300.pth.tar"]
    path = save(content, tmp_path / "OSTrack_ep0300.pth.tar")
    out = tmp_path / "tracker.safetensors"
    made = convert_tracker(path, out, settings=Settings(found_above=0.5))
    assert made.network.spec == NetworkSpec()  # the authors' is our default
    loaded, manifest = load_tracker(out)
    assert (manifest.spec, manifest.heads, manifest.epochs) == (NetworkSpec(), 12, 300)
    assert manifest.recipe == "ostrack" and manifest.settings.found_above == 0.5
    assert manifest.parents[0].name == path.name and manifest.parents[0].sha256 == sha256(path)
    net = content["net"]
    assert torch.equal(loaded.head.size[4].bias, net["box_head.conv5_size.bias"])
    assert torch.equal(loaded.head.score[1][1].running_var, net["box_head.conv2_ctr.1.running_var"])
    assert torch.equal(loaded.template_positions, net["backbone.pos_embed_z"])
    text = str(made)
    for part in ("12 heads (from what is published)", "8,040,645", "3, 6, 9", "300 epochs",
                 "backbone.cls_token", "backbone.pos_embed"):  # fmt: skip
        assert part in text


def test_options(file, tmp_path):
    out = tmp_path / "t.safetensors"
    convert_tracker(file, out, **AS_TEST, recipe="mine", half=True, image_mean=(0.5,) * 3)
    manifest = read_tracker_manifest(out)
    assert manifest.recipe == "mine" and manifest.image_mean == (0.5,) * 3
    with pytest.raises(CheckpointError, match="there already"):
        convert_tracker(file, out, **AS_TEST)
    full = out.stat().st_size
    convert_tracker(file, out, **AS_TEST, overwrite=True)
    assert out.stat().st_size > 1.5 * full
    with pytest.raises(ConfigError, match="knows: ce, none"):
        from_ostrack(file, preset="vit_test", eliminate="some")
    with pytest.raises(ConfigError, match="blocks 0 to 2"):
        from_ostrack(file, preset="vit_test")  # the authors' blocks are 3, 6 and 9


@pytest.mark.parametrize(
    ("template", "search", "factor"), [(128, 256, 4.0), (192, 384, 5.0), (64, 128, 4.0)]
)
def test_sizes_and_factors(template, search, factor, tmp_path):
    network = network_of(template_size=template, search_size=search)
    spec = from_ostrack(save({"net": theirs(network)}, tmp_path / NAME), **AS_TEST).network.spec
    assert (spec.template_size, spec.search_size) == (template, search)
    assert (spec.template_factor, spec.search_factor) == (2.0, factor)
    assert spec.head_channels == 16


def test_elimination_is_the_authors_unless_none_is_asked_for(tmp_path):
    network = network_of(preset="vit_tiny_p16_h3", template_size=32, search_size=64)
    path = save({"net": theirs(network)}, tmp_path / NAME)
    made = from_ostrack(path)
    assert made.network.spec.preset == "vit_tiny_p16_h12"  # MAE-Lite's: the file cannot tell
    assert (made.network.spec.eliminate, made.network.spec.keep) == ((3, 6, 9), 0.7)
    assert from_ostrack(path, eliminate="none").network.spec.eliminate == ()
    asked = from_ostrack(path, preset="vit_tiny_p16_h3")
    assert asked.network.spec.preset == "vit_tiny_p16_h3" and "as asked for" in str(asked)


@pytest.mark.parametrize(
    ("name", "content", "epochs"),
    [
        ("OSTrack_ep0300.pth.tar", {"epoch": 240}, 240),
        ("OSTrack_ep0300.pth.tar", {"epoch": "many"}, 300),
        ("tracker.pth", {}, None),
        ("tracker.pth", {"epoch": 7}, 7),
    ],
)
def test_epochs(name, content, epochs, tmp_path):
    path = save({"net": theirs(network_of()), **content}, tmp_path / name)
    assert from_ostrack(path, **AS_TEST).epochs == epochs


# ------------------------------------------------------------------------------ what is wrong


def test_tensors_too_few_too_many_and_of_other_shapes(tmp_path):
    state = theirs(network_of())
    state["box_head.conv6_ctr.weight"] = state.pop("box_head.conv5_ctr.bias")
    state["box_head.conv2_size.0.bias"] = torch.zeros(9)
    with pytest.raises(CheckpointError) as caught:
        from_ostrack(save({"net": state}, tmp_path / NAME), **AS_TEST)
    text = " ".join(str(caught.value).split())
    assert "missing: head.score.4.bias" in text and "unexpected: head.score.5.weight" in text
    assert "head.size.1.0.bias: (9,) in the file, (8,) in the model" in text


def test_tables_that_are_not_square(tmp_path):
    state = theirs(network_of())
    state["backbone.pos_embed_x"] = torch.zeros(1, 15, 32)
    with pytest.raises(CheckpointError, match="not of a square crop") as caught:
        from_ostrack(save({"net": state}, tmp_path / NAME), **AS_TEST)
    assert "backbone.pos_embed_x" in str(caught.value)


def test_presets_that_are_unknown_or_contradict(file):
    with pytest.raises(CheckpointError, match="width 32 is not known"):
        from_ostrack(file)
    with pytest.raises(CheckpointError, match="contradicts the source"):
        from_ostrack(file, preset="vit_base_p16")
    for preset in ("vit_tiny", "hiera_tiny"):
        with pytest.raises(ConfigError, match="preset"):
            from_ostrack(file, preset=preset)


@pytest.mark.parametrize(
    "content", [{"net": 5}, {"net": {}}, {"model": {"a": torch.zeros(1)}}, [torch.zeros(1)], {}]
)
def test_files_of_something_else(content, tmp_path):
    path = save(content, tmp_path / NAME)
    with pytest.raises(CheckpointError, match="no tracker of OSTrack's"):
        from_ostrack(path)
    assert not looks_like_ostrack(path)


def test_files_that_are_no_checkpoints(tmp_path):
    (tmp_path / "page").write_text("<html>")
    for name, says in (("page", "a web page"), ("none", "no such checkpoint"), (".", "folder")):
        with pytest.raises(CheckpointError, match=says):
            from_ostrack(tmp_path / name)


# --------------------------------------------------------- objects of the training program


PROGRAM = {
    "lib/__init__.py": "",
    "lib/train/__init__.py": "",
    "lib/train/admin/__init__.py": "",
    "lib/train/admin/local.py": "class EnvironmentSettings:\n"
    "    def __init__(self):\n        self.workspace_dir = '/somewhere'\n",
    "lib/train/admin/settings.py": "from lib.train.admin.local import EnvironmentSettings\n"
    "class Settings:\n"
    "    def __init__(self):\n"
    "        self.env = EnvironmentSettings()\n"
    "        self.use_gpu = True\n",
    "lib/train/admin/stats.py": "class StatValue:\n"
    "    def __init__(self):\n        self.val = 0.5\n        self.history = [1, 2]\n"
    "class AverageMeter:\n"
    "    def __init__(self):\n        self.avg = 0.25\n        self.has_new_data = True\n",
    "easydict.py": "class EasyDict(dict):\n"
    "    def __init__(self, **values):\n"
    "        for name, value in values.items():\n"
    "            setattr(self, name, value)\n"
    "    def __setattr__(self, name, value):\n"
    "        super().__setattr__(name, value)\n        self[name] = value\n",
    "lib/evil.py": "import os\n"
    "def run(command):\n    os.system(command)\n"
    "class Evil:\n"
    "    def __init__(self, command):\n        self.command = command\n"
    "    def __reduce__(self):\n        return run, (self.command,)\n"
    "class Worse(Evil):\n"
    "    def __reduce__(self):\n        return os.system, (self.command,)\n"
    "class Sets:\n"
    "    def __init__(self, command):\n        self.command = command\n"
    "    def __setstate__(self, state):\n        run(state['command'])\n",
    "library.py": "import os\n"
    "def run(command):\n    os.system(command)\n"
    "class Other:\n"
    "    def __init__(self, command):\n        self.command = command\n"
    "    def __reduce__(self):\n        return run, (self.command,)\n",
}
WRITE = """
import sys
from collections import OrderedDict
import torch
from easydict import EasyDict
from lib.evil import Evil, Sets, Worse
from lib.train.admin.settings import Settings
from lib.train.admin.stats import AverageMeter, StatValue
from library import Other

source, folder = sys.argv[1:]
settings = Settings()
settings.search_area_factor = {"template": 2.0, "search": 4.5}
settings.cfg = EasyDict(TRAIN=EasyDict(EPOCH=300, NAMES=["LASOT"]), factor=3)
content = {
    "epoch": 299,
    "actor_type": "OSTrackActor",
    "net_type": "OSTrack",
    "net": torch.load(source, weights_only=True)["net"],
    "net_info": None,
    "constructor": None,
    "optimizer": {"state": {0: {"step": torch.tensor(5.0)}}, "param_groups": [{"lr": 1e-4}]},
    "settings": settings,
}
plain = OrderedDict(train=OrderedDict(loss=AverageMeter(), lr=StatValue()))
kinds = {"plain": plain, "lib": Evil, "posix": Worse, "state": Sets, "library": Other}
for kind, stats in kinds.items():
    content["stats"] = stats if kind == "plain" else stats(f"touch {folder}/{kind}.marker")
    for form in ("zip", "legacy"):
        file = f"{folder}/{kind}_{form}_ep0001.pth.tar"
        torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
"""


class Program:
    """A folder with a stand-in of the authors' program, and files that it saved."""

    def __init__(self, folder):
        self.folder = folder
        for name, text in PROGRAM.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (folder / "write.py").write_text(WRITE)
        source = save({"net": theirs(network_of())}, folder / "net.pth")
        self.run("write.py", source, folder)

    def run(self, *arguments):
        """Python in a process that can import the program."""
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr

    def file(self, kind="plain", form="zip"):
        return self.folder / f"{kind}_{form}_ep0001.pth.tar"

    def marker(self, kind):
        return self.folder / f"{kind}.marker"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return Program(tmp_path_factory.mktemp("program"))


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_a_file_as_the_authors_save_it(program, form):
    path = program.file(form=form)
    assert "lib" not in sys.modules and "easydict" not in sys.modules
    with pytest.raises((ModuleNotFoundError, ImportError)):
        torch.load(path, weights_only=False)  # what ordinary loading says
    made = from_ostrack(path, **AS_TEST)
    expected = network_of().state_dict()
    assert all(torch.equal(t, expected[n]) for n, t in made.network.state_dict().items())
    assert made.epochs == 299
    assert made.network.spec.search_factor == 4.5  # the file's settings, not the published 4
    assert "from the file's settings" in str(made)
    assert any("settings" in names for names in made.dropped.values())
    assert looks_like_ostrack(path)
    assert "lib" not in sys.modules and "easydict" not in sys.modules


def test_what_stands_in_is_inert_and_for_their_names_alone(program):
    path = program.file()
    names = {name for _, name in stand_ins(path)}
    assert names == {
        "lib.train.admin.settings.Settings",
        "lib.train.admin.local.EnvironmentSettings",
        "lib.train.admin.stats.AverageMeter",
        "lib.train.admin.stats.StatValue",
        "easydict.EasyDict",
    }
    content = read_ostrack(path)
    settings = vars(content["settings"])
    assert settings["use_gpu"] is True
    assert vars(settings["env"]) == {"workspace_dir": "/somewhere"}
    assert dict(settings["cfg"]["TRAIN"]) == {"EPOCH": 300, "NAMES": ["LASOT"]}
    assert type(content["stats"]["train"]["loss"]).__module__ == "collections"


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("kind", ["lib", "state"])
def test_attacks_under_their_names_do_nothing(program, kind, form):
    made = from_ostrack(program.file(kind, form), **AS_TEST)
    assert made.network.spec.preset == "vit_test" and not program.marker(kind).exists()


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize(("kind", "wants"), [("posix", "posix.system"), ("library", "library.run")])
def test_other_names_are_refused(program, kind, wants, form):
    path = program.file(kind, form)
    with pytest.raises(CheckpointError, match="not safe to load") as caught:
        from_ostrack(path, **AS_TEST)
    assert wants in str(caught.value) and not program.marker(kind).exists()
    assert not looks_like_ostrack(path)


def test_the_attacks_are_real(program):
    """Else the tests above would show nothing: where the program is, loading runs them."""
    kinds = ("lib", "posix", "state", "library")
    files = [str(program.file(kind)) for kind in kinds]
    loads = f"for file in {files!r}: torch.load(file, weights_only=False)"
    program.run("-c", f"import torch\n{loads}")
    for kind in kinds:
        assert program.marker(kind).exists()
        program.marker(kind).unlink()


def test_settings_that_make_no_sense_are_passed_over(program, tmp_path):
    path = program.file()
    both = [{"template": 2.0}, {"template": "2", "search": 4}, {"template": 2, "search": 0}]
    for told in (5, *both):
        content = read_ostrack(path)
        vars(content["settings"])["search_area_factor"] = told
        other = save(content, tmp_path / "other.pth")
        spec = from_ostrack(other, **AS_TEST).network.spec
        assert (spec.template_factor, spec.search_factor) == (2.0, 4.0)


def test_nothing_stays_allowed(program):
    """A later load of another kind does not profit from the names of this one."""
    path = program.file()
    from_ostrack(path, **AS_TEST)
    from lightvit_bench.checkpoint import read_checkpoint

    with pytest.raises(CheckpointError, match="not safe to load"):
        read_checkpoint(path)


# --------------------------------------------------------------------------------- the tool


def run_tool(monkeypatch, folder, *arguments):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name="__main__")


def assert_refused(capsys, monkeypatch, folder, *arguments, says):
    before = sorted(os.listdir(folder))
    with pytest.raises(SystemExit) as stop:
        run_tool(monkeypatch, folder, *arguments)
    text = " ".join(capsys.readouterr().err.split())
    assert stop.value.code == 2 and says in text
    assert sorted(os.listdir(folder)) == before


def test_the_tool_converts_and_reports(file, tmp_path, monkeypatch, capsys):
    options = ("--from", "OSTrack", "--preset", "vit_test", "--eliminate", "none")
    run_tool(monkeypatch, tmp_path, NAME, "t.safetensors", *options, "--image-stats", "half")
    out = capsys.readouterr().out
    for line in ("converter   ostrack", "dropped     1:", "written     t.safetensors"):
        assert line in out
    assert read_tracker_manifest(tmp_path / "t.safetensors").image_std == (0.5,) * 3
    again = (NAME, "t.safetensors", *options)
    assert_refused(capsys, monkeypatch, tmp_path, *again, says="--force")
    run_tool(monkeypatch, tmp_path, *again, "--force", "--half")
    assert read_tracker_manifest(tmp_path / "t.safetensors").image_std != (0.5,) * 3


def test_the_tool_names_the_right_converter(file, program, golden, tmp_path, monkeypatch, capsys):
    save(golden.checkpoints()["mae_tiny_400e.pth.tar"], tmp_path / "mae.pth.tar")
    wrong = ("mae.pth.tar", "o.safetensors", "--from", "ostrack")
    assert_refused(capsys, monkeypatch, tmp_path, *wrong, says="--from mae-lite-pretrain")
    for source in (NAME, program.file()):
        for name in ("mae-lite-pretrain", "timm"):
            wrong = (source, "o.safetensors", "--from", name)
            assert_refused(capsys, monkeypatch, tmp_path, *wrong, says="--from ostrack")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--from", "ostrak"), "near: ostrack"),
        (("--from", "ostrack", "--drop", "box_head"), "--drop is not for ostrack"),
        (("--from", "deit", "--eliminate", "none"), "--from ostrack"),
        (("--from", "deit", "--half"), "--from ostrack"),
    ],
)
def test_the_tools_options(options, says, file, tmp_path, monkeypatch, capsys):
    assert_refused(capsys, monkeypatch, tmp_path, NAME, "o.safetensors", *options, says=says)

"""tools/install.py, constraints.txt and setup.cfg: what a bare machine meets first."""

from __future__ import annotations

import configparser
import fcntl
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
MMCV = "2.3.6"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """tools/install.py, loaded by path, at work on a copy of the project's metadata."""
    spec = importlib.util.spec_from_file_location("install_tool", ROOT / "tools" / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    project = tmp_path / "project"
    for name in module.STAMPED_FILES:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, project / name)
    venv = project / ".venv"
    monkeypatch.setattr(module, "ROOT", str(project))
    monkeypatch.setattr(module, "VENV", str(venv))
    monkeypatch.setattr(module, "VENV_PYTHON", str(venv / "bin" / "python"))
    monkeypatch.setattr(module, "LOG", str(venv / "install.log"))
    monkeypatch.setattr(module, "STAMP", str(venv / "installed.json"))
    for name in ("PYTHON", "TORCH", "MAX_JOBS", "CXX", "CUDA_HOME", "FORCE_CUDA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LIGHTVIT_CACHE", str(tmp_path / "cache"))
    return module


def make_wheel(path: Path, names: tuple[str, ...] = ("mmcv/_ext.cpython-311.so",)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"operators" * 1000)
    return path


def run_tool(install, *arguments: str, **env: str) -> subprocess.CompletedProcess:
    tool = os.path.join(install.ROOT, "tools", "install.py")
    cache = {"LIGHTVIT_CACHE": os.environ["LIGHTVIT_CACHE"]}
    return subprocess.run(
        [sys.executable, tool, *arguments], env=cache | env, capture_output=True, text=True
    )


# ---- choosing a Python ------------------------------------------------------------------------


def fake_python(folder: Path, name: str, version: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return path


def test_running_python_is_taken_unless_another_is_asked_for(install, tmp_path):
    assert install.choose_python(None) == sys.executable
    other = fake_python(tmp_path / "bin", "other", "3 10")
    assert install.choose_python(str(other)) == str(other)


def test_unsuitable_running_python_gives_way_to_the_newest_on_path(install, tmp_path, monkeypatch):
    monkeypatch.setattr(install.sys, "version_info", (3, 13, 0))
    folder = tmp_path / "bin"
    fake_python(folder, "python3.10", "3 10")
    expected = fake_python(folder, "python3.11", "3 11")
    fake_python(folder, "python3.12", "3 13")  # lies about itself
    monkeypatch.setenv("PATH", str(folder))
    assert install.choose_python(None) == str(expected)


@pytest.mark.parametrize(("version", "said"), [("3 9", "is Python 3.9"), ("oops", "no Python 3")])
def test_asked_python_that_does_not_fit_is_refused(install, tmp_path, version, said):
    path = fake_python(tmp_path / "bin", "old", version)
    with pytest.raises(install.InstallError, match=said) as caught:
        install.choose_python(str(path))
    assert "3.10, 3.11 or 3.12" in str(caught.value) and caught.value.code == 2


def test_no_suitable_python_is_one_sentence_with_a_remedy(install, tmp_path, monkeypatch):
    monkeypatch.setattr(install.sys, "version_info", (3, 8, 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(install.InstallError) as caught:
        install.choose_python(None)
    text = str(caught.value)
    assert "python3.12, python3.11, python3.10" in text and "PYTHON=" in text


# ---- what must be there before anything long starts ---------------------------------------------


def test_missing_compiler_ends_the_tool_with_2_before_anything_is_made(install, tmp_path):
    done = run_tool(install, PATH=str(tmp_path / "nothing"))
    assert done.returncode == 2
    assert done.stderr.startswith("InstallError: No C++ compiler found")
    assert "g++ (Debian)" in done.stderr and "Traceback" not in done.stderr
    assert not os.path.exists(install.VENV)


def test_unsuitable_python_ends_the_tool_with_2(install):
    done = run_tool(install, "--python", "/nonexistent/python", PATH=os.environ["PATH"])
    assert done.returncode == 2 and "/nonexistent/python" in done.stderr
    assert "Traceback" not in done.stderr


def test_cache_that_cannot_be_written_ends_the_tool_with_2(install, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LIGHTVIT_CACHE", str(tmp_path / "file"))
    done = run_tool(install, PATH=os.environ["PATH"])
    assert done.returncode == 2 and done.stderr.startswith("InstallError: The cache")
    assert str(tmp_path / "file") in done.stderr and "LIGHTVIT_CACHE" in done.stderr
    assert not os.path.exists(install.VENV)


def test_missing_headers_and_venv_module_name_the_package(install, monkeypatch):
    monkeypatch.setattr(install, "find_compiler", lambda: "c++")
    monkeypatch.setattr(install, "python_version", lambda python: (3, 11))
    monkeypatch.setattr(install, "answer", lambda python, code: "/nonexistent/include")
    with pytest.raises(install.InstallError, match="(?s)headers are missing.*python3.11-dev"):
        install.require_compiler("python3")
    monkeypatch.setattr(install, "answer", lambda python, code: None)
    with pytest.raises(install.InstallError, match="(?s)ensurepip.*python3.11-venv"):
        install.require_venv_module("python3")


def test_compiler_is_looked_for_under_the_names_a_build_uses(install, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert install.find_compiler() is None
    fake_python(tmp_path / "bin", "clang++", "")
    assert install.find_compiler() == "clang++"
    mine = fake_python(tmp_path / "own", "cxx", "")
    monkeypatch.setenv("CXX", f"{mine} -m64")
    assert install.find_compiler() == str(mine)


@pytest.mark.parametrize(
    ("cores", "gib", "jobs"), [(2, 24.0, 2), (8, 7.9, 3), (4, 1.0, 1), (1, 64.0, 1), (16, 32.0, 16)]
)
def test_two_gib_a_job_and_at_least_one(install, cores, gib, jobs):
    assert install.compile_jobs(cores, gib) == jobs


def test_max_jobs_overrides_and_nonsense_does_not(install, monkeypatch):
    monkeypatch.setenv("MAX_JOBS", "3")
    assert install.compile_jobs(16, 64.0) == 3
    monkeypatch.setenv("MAX_JOBS", "many")
    assert install.compile_jobs(2, 64.0) == 2


def test_container_limits_count(install, monkeypatch):
    files = {
        "/sys/fs/cgroup/cpu.max": "150000 100000\n",
        "/sys/fs/cgroup/memory.max": str(3 * 2**30),
        "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:   16777216 kB\n",
    }
    monkeypatch.setattr(install, "read_text", lambda path: files.get(path, ""))
    assert install.machine_limits() == (1, 3.0)
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert install.machine_limits() == (1, 16.0)
    files.clear()
    assert install.machine_limits()[1] == 2.0


# ---- mmcv's wheel -----------------------------------------------------------------------------


def test_key_tells_incompatible_builds_apart(install):
    keys = {
        install.wheel_key((3, 11), "2.13.0+cpu", MMCV, "x86_64"),
        install.wheel_key((3, 11), "2.13.0+cu130", MMCV, "x86_64"),
        install.wheel_key((3, 12), "2.13.0+cpu", MMCV, "x86_64"),
        install.wheel_key((3, 11), "2.13.0+cpu", "2.3.7", "x86_64"),
        install.wheel_key((3, 11), "2.13.0+cpu", MMCV, "aarch64"),
    }
    assert len(keys) == 5
    assert "cp311-torch2.13.0+cpu-mmcv2.3.6-x86_64" in keys


def test_cache_folder_follows_the_environment(install, monkeypatch):
    monkeypatch.delenv("LIGHTVIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert install.wheel_cache() == "/xdg/lightvit_bench/wheels"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert install.wheel_cache() == "/home/someone/.cache/lightvit_bench/wheels"


def test_damaged_and_operatorless_wheels_are_told_from_good_ones(install, tmp_path):
    good = make_wheel(tmp_path / "good.whl")
    assert install.wheel_complaint(str(good)) is None
    data = good.read_bytes()
    cut = tmp_path / "cut.whl"
    cut.write_bytes(data[: len(data) // 2])
    flipped = tmp_path / "flipped.whl"
    flipped.write_bytes(data[:200] + bytes(byte ^ 255 for byte in data[200:210]) + data[210:])
    plain = make_wheel(tmp_path / "plain.whl", ("mmcv/__init__.py", "mmcv/_extra.py"))
    assert "damaged" in install.wheel_complaint(str(cut))
    assert "damaged" in install.wheel_complaint(str(flipped))
    assert install.wheel_complaint(str(plain)) == "has no compiled operators"


def test_only_a_good_wheel_of_the_same_build_spares_the_compiler(install):
    cache = Path(install.wheel_cache())
    key = install.wheel_key((3, 11), "2.13.0+cpu", MMCV, install.platform.machine())
    assert not install.cached_wheel((3, 11), "torch==2.13.0", MMCV)
    wheel = make_wheel(cache / key / "mmcv.whl")
    assert install.cached_wheel((3, 11), "torch==2.13.0", MMCV)
    assert install.cached_wheel((3, 11), "torch==2.13.0+cpu torchvision", MMCV)
    assert not install.cached_wheel((3, 12), "torch==2.13.0", MMCV)
    assert not install.cached_wheel((3, 11), "torch==2.12.0", MMCV)
    wheel.write_bytes(b"cut off")
    assert not install.cached_wheel((3, 11), "torch==2.13.0", MMCV)


class FakeBuild:
    """An Installer without pip and compiler, that notes what it was asked for."""

    def __init__(self, install, monkeypatch, loads: list[bool]):
        self.built, self.installed = 0, []
        pins = install.read_pins((ROOT / "constraints.txt").read_text())
        self.installer = install.Installer(sys.executable, "torch==2.13.0", pins)
        monkeypatch.setattr(self.installer, "torch_build", lambda: ("2.13.0+cpu", False))
        monkeypatch.setattr(install, "python_version", lambda python: (3, 11))

        def build_mmcv(folder: str, cuda: bool) -> str:
            self.built += 1
            return str(make_wheel(Path(folder) / "onedl_mmcv.whl"))

        def wheel_loads(path: str) -> bool:
            self.installed.append(path)
            return loads.pop(0)

        monkeypatch.setattr(self.installer, "build_mmcv", build_mmcv)
        monkeypatch.setattr(self.installer, "loads", wheel_loads)
        key = install.wheel_key((3, 11), "2.13.0+cpu", MMCV, install.platform.machine())
        self.folder = Path(install.wheel_cache()) / key


def test_wheel_is_compiled_once_and_then_taken_from_the_cache(install, monkeypatch):
    fake = FakeBuild(install, monkeypatch, loads=[True, True])
    fake.installer.install_mmcv()
    assert [path.name for path in fake.folder.iterdir()] == ["onedl_mmcv.whl"]
    fake.installer.install_mmcv()
    assert fake.built == 1
    assert fake.installed[1] == str(fake.folder / "onedl_mmcv.whl")


def test_damaged_cached_wheel_is_compiled_anew_and_said(install, monkeypatch, capsys):
    fake = FakeBuild(install, monkeypatch, loads=[True])
    fake.folder.mkdir(parents=True)
    (fake.folder / "another_name.whl").write_bytes(b"half a file")
    (fake.folder / ".build-killed").mkdir()
    fake.installer.install_mmcv()
    assert fake.built == 1 and "is damaged" in capsys.readouterr().out
    assert [path.name for path in fake.folder.iterdir()] == ["onedl_mmcv.whl"]
    assert install.wheel_complaint(str(fake.folder / "onedl_mmcv.whl")) is None


def test_cached_wheel_that_does_not_load_is_compiled_anew(install, monkeypatch, capsys):
    fake = FakeBuild(install, monkeypatch, loads=[False, True])
    make_wheel(fake.folder / "onedl_mmcv.whl")
    fake.installer.install_mmcv()
    assert fake.built == 1 and "does not load" in capsys.readouterr().out


def test_wheel_that_does_not_load_never_reaches_the_cache(install, monkeypatch):
    fake = FakeBuild(install, monkeypatch, loads=[False])
    os.makedirs(install.VENV)
    Path(install.LOG).write_text("ImportError: undefined symbol\n")
    with pytest.raises(install.InstallError, match="does not load") as caught:
        fake.installer.install_mmcv()
    assert caught.value.code == 1
    assert list(fake.folder.iterdir()) == []


def test_a_second_installer_says_that_it_waits_and_then_has_the_folder(
    install, tmp_path, monkeypatch, capsys
):
    lock, first = fcntl.flock, os.open(tmp_path, os.O_RDONLY)
    lock(first, fcntl.LOCK_EX)

    def flock(handle: int, operation: int) -> None:
        if not operation & fcntl.LOCK_NB:  # the second one begins to wait: the first one ends
            assert capsys.readouterr().out == "waiting\n"
            os.close(first)
        lock(handle, operation)

    monkeypatch.setattr(install.fcntl, "flock", flock)
    with install.locked(str(tmp_path), "waiting"):
        third = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            lock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back
    os.close(third)


# ---- progress ---------------------------------------------------------------------------------


def test_progress_is_read_from_ninjas_last_mark(install):
    assert install.compile_progress("Collecting [1/2]\n running build_ext\n") is None
    output = "  [1/78] c++ -MMD a.o\n  warning: x[3/4]\n  [12/78] c++ -MMD b.o\n  creat"
    assert install.compile_progress(output) == (12, 78)


def test_time_left_starts_at_the_estimate_and_ends_at_the_measured_pace(install):
    estimate = 78 * install.SECONDS_PER_FILE / 2
    assert install.seconds_left(0, 78, 0.0, jobs=2) == pytest.approx(estimate)
    assert 14 <= estimate / 60 <= 16  # measured: 15 minutes on two cores
    assert install.seconds_left(78, 78, 900.0, jobs=2) == 0
    twice_as_fast = install.seconds_left(70, 78, 70 * install.SECONDS_PER_FILE / 4, jobs=2)
    assert twice_as_fast < 0.6 * 8 * install.SECONDS_PER_FILE / 2


@pytest.mark.parametrize(("seconds", "text"), [(5.4, "5 s"), (89, "89 s"), (897, "15 min")])
def test_duration(install, seconds, text):
    assert install.duration(seconds) == text


# ---- the stamp --------------------------------------------------------------------------------


def test_stamp_changes_with_everything_installed_packages_depend_on(install, monkeypatch):
    before = install.stamp_digest((3, 11), "torch==2.13.0")
    assert before == install.stamp_digest((3, 11), "torch==2.13.0")
    seen = {before, install.stamp_digest((3, 12), "torch==2.13.0")}
    seen.add(install.stamp_digest((3, 11), "torch==2.13.0+cu130"))
    for name in install.STAMPED_FILES:
        with open(os.path.join(install.ROOT, name), "a") as file:
            file.write("#\n")
        seen.add(install.stamp_digest((3, 11), "torch==2.13.0"))
    monkeypatch.setattr(install, "ROOT", shutil.copytree(install.ROOT, install.ROOT + "-moved"))
    seen.add(install.stamp_digest((3, 11), "torch==2.13.0"))
    assert len(seen) == 4 + len(install.STAMPED_FILES)


def run_main(install, monkeypatch, broken: bool = False) -> list[str]:
    """`main` with a fake installer that makes an interpreter; returns the torch of each install."""
    torches = []

    class FakeInstaller:
        def __init__(self, python: str, torch: str, pins: dict[str, str]):
            self.torch = torch

        def install(self, cached: bool) -> None:
            torches.append(self.torch)
            os.makedirs(os.path.dirname(install.VENV_PYTHON), exist_ok=True)
            if not os.path.exists(install.VENV_PYTHON):
                os.symlink(sys.executable, install.VENV_PYTHON)
            if broken:
                raise install.InstallError("pip failed", 1)

    monkeypatch.setattr(install, "Installer", FakeInstaller)
    monkeypatch.setattr(install, "require_compiler", lambda python: None)
    install.main(None)
    return torches


def test_second_run_ends_at_once_and_a_changed_pin_does_not(install, monkeypatch, capsys):
    assert run_main(install, monkeypatch) == ["torch==2.13.0"]
    capsys.readouterr()
    assert run_main(install, monkeypatch) == []
    assert capsys.readouterr().out.startswith("installed already: .venv")
    with open(os.path.join(install.ROOT, "constraints.txt"), "a") as file:
        file.write("another==1.0\n")
    assert len(run_main(install, monkeypatch)) == 1


def test_chosen_torch_stays_chosen(install, monkeypatch):
    monkeypatch.setenv("TORCH", "torch==2.13.0+cu130")
    assert run_main(install, monkeypatch) == ["torch==2.13.0+cu130"]
    monkeypatch.delenv("TORCH")
    assert run_main(install, monkeypatch) == []


def test_half_made_venv_is_continued(install, monkeypatch):
    run_main(install, monkeypatch)
    os.utime(os.path.join(install.ROOT, "constraints.txt"))
    monkeypatch.setenv("TORCH", "torch==2.12.0")
    with pytest.raises(install.InstallError):
        run_main(install, monkeypatch, broken=True)
    assert not os.path.exists(install.STAMP)  # what was installed is no longer known
    monkeypatch.delenv("TORCH")
    assert run_main(install, monkeypatch) == ["torch==2.13.0"]


def test_venv_without_its_interpreter_is_not_trusted(install, monkeypatch):
    run_main(install, monkeypatch)
    os.unlink(install.VENV_PYTHON)
    assert len(run_main(install, monkeypatch)) == 1


def test_unreadable_stamp_counts_as_none(install):
    os.makedirs(install.VENV)
    for text in ("", "[]", '{"digest'):
        Path(install.STAMP).write_text(text)
        assert install.read_stamp() == {}


# ---- constraints.txt and setup.cfg --------------------------------------------------------------


def constraint_lines() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def test_torch_takes_the_packages_it_names_out_of_the_list(install):
    assert install.torch_names("torch==2.13.0+cpu torchvision>=0.28") == ["torch", "torchvision"]
    assert install.torch_names("/wheels/torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl") == ["torch"]


def test_constraints_pin_every_name_once():
    requirements = [Requirement(line) for line in constraint_lines()]
    for requirement in requirements:
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), requirement
        assert requirement.name == canonicalize_name(requirement.name), "written normalised"
    names = [requirement.name for requirement in requirements]
    assert len(names) == len(set(names))
    assert "opencv-python" in names
    assert not [name for name in names if name.startswith("opencv") and name != "opencv-python"]


def test_the_installers_reading_of_constraints_agrees_with_pips(install):
    pins = install.read_pins((ROOT / "constraints.txt").read_text())
    assert pins == {Requirement(line).name: line for line in constraint_lines()}
    assert set(install.BUILD_TOOLS) | {install.MMCV, "torch"} <= set(pins)


def test_installed_versions_are_the_pinned_ones():
    chosen = {"torch", "torchvision"}  # TORCH may have replaced them
    wrong = {}
    for requirement in map(Requirement, constraint_lines()):
        if requirement.name in chosen or (requirement.marker and not requirement.marker.evaluate()):
            continue
        version = importlib.metadata.version(requirement.name)
        if not requirement.specifier.contains(version, prereleases=True):
            wrong[requirement.name] = version
    assert not wrong


def test_closure_is_complete_but_for_what_is_left_out_on_purpose():
    """What an installed pin requires is pinned too: `--no-deps` would leave a hole."""
    left_out = {
        "opencv-python-headless", "imagecorruptions-imaug", "huggingface-hub", "openvino-telemetry",
    }  # fmt: skip
    pinned = {Requirement(line).name for line in constraint_lines()}
    environment = default_environment() | {"extra": ""}
    missing = set()
    for name in pinned - {"torch", "torchvision"}:  # torch comes with its dependencies
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # by its marker for another Python
        for requirement in map(Requirement, requires):
            if requirement.marker is None or requirement.marker.evaluate(environment):
                missing.add(canonicalize_name(requirement.name))
    assert missing - pinned == left_out


def test_setup_cfg_requires_what_constraints_pin():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    pins = {r.name: str(r.specifier)[2:] for r in map(Requirement, constraint_lines())}
    lines = config["options"]["install_requires"].split("\n")
    required = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert len(required) > 10
    for requirement in required:
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])

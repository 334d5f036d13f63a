#!/usr/bin/env python3
"""Make .venv with the packages of constraints.txt, and mmcv's compiled operators from a user cache.

Run by `make`. A second run ends at once, an interrupted one is continued. Settings (environment):
PYTHON an interpreter, TORCH torch requirements, LIGHTVIT_CACHE the cache folder, MAX_JOBS files
compiled at once; pip's own (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, ...) pass through.

Standard library only, in the syntax of Python 3.6: an old system Python must get as far as the
sentence that says which one is needed.
"""

import argparse
import contextlib
import fcntl
import glob
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from typing import Callable, Dict, Iterator, List, Optional, Tuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
LOG = os.path.join(VENV, "install.log")
STAMP = os.path.join(VENV, "installed.json")
STAMPED_FILES = ("constraints.txt", "setup.cfg", "pyproject.toml", "tools/install.py")

PYTHONS = ((3, 10), (3, 11), (3, 12))
BUILD_TOOLS = ("setuptools", "wheel", "ninja", "packaging")
MMCV = "onedl-mmcv"
MMCV_FILES = 78  # C++ files of the CPU operators of 2.3.6
SECONDS_PER_FILE = 23.0  # of one core: 15 minutes on two cores
Version = Tuple[int, int]


class InstallError(Exception):
    """A sentence, then `label: text` lines, as lightvit_bench.errors prints them."""

    def __init__(self, message: str, code: int = 2, **details: str):
        width = max((len(label) for label in details), default=0) + 1
        lines = ["  %-*s %s" % (width, label + ":", text) for label, text in details.items()]
        super().__init__("\n".join([message] + lines))
        self.code = code


# ---- the machine -----------------------------------------------------------------------------


def answer(python: str, code: str) -> Optional[str]:
    """What an interpreter prints; None if it fails or does not run (a dangling link, a shim)."""
    try:
        text = subprocess.check_output([python, "-I", "-c", code], stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None
    return text.decode().strip()


def python_version(python: str) -> Optional[Version]:
    text = answer(python, "import sys; print('%d %d' % sys.version_info[:2])")
    found = re.search(r"^(\d+) (\d+)$", text or "")
    return (int(found.group(1)), int(found.group(2))) if found else None


def choose_python(asked: Optional[str]) -> str:
    """The interpreter asked for; else the running one; else the newest suitable one on PATH."""
    need = "Python 3.10, 3.11 or 3.12 is needed"
    remedy = {
        "install": "python3 python3-venv python3-dev (Debian) or python3.12-devel (Fedora)",
        "set": "PYTHON=/path/to/python3.11",
    }
    if asked:
        found = shutil.which(asked)
        version = python_version(found) if found else None
        if version in PYTHONS:
            return found
        what = "is Python %d.%d" % version if version else "is no Python 3 that runs"
        raise InstallError("PYTHON=%s %s; %s." % (asked, what, need), **remedy)
    if sys.version_info[:2] in PYTHONS:
        return sys.executable
    names = ["python%d.%d" % version for version in reversed(PYTHONS)]
    for name in names:
        found = shutil.which(name)
        if found and python_version(found) in PYTHONS:
            return found
    message = "%s; %s is Python %s." % (need, sys.executable, platform.python_version())
    raise InstallError(message, looked="PATH, for " + ", ".join(names), **remedy)


def require_venv_module(python: str) -> None:
    """Debian's python3 comes without the modules that make a virtual environment."""
    if answer(python, "import venv, ensurepip") is None:
        raise InstallError(
            "%s cannot make a virtual environment: no venv or ensurepip module." % python,
            install="python%d.%d-venv (Debian) or python3-libs (Fedora)" % python_version(python),
        )


def find_compiler() -> Optional[str]:
    """The C++ compiler a build would use."""
    names = [os.environ.get("CXX", "").split(" ")[0], "c++", "g++", "clang++"]
    return next((name for name in names if name and shutil.which(name)), None)


def require_compiler(python: str) -> None:
    """What compiling mmcv's operators needs: a C++ compiler and Python's headers."""
    if find_compiler() is None:
        raise InstallError(
            "No C++ compiler found; mmcv's operators have to be compiled once.",
            looked="PATH, for $CXX, c++, g++ and clang++",
            install="g++ (Debian) or gcc-c++ (Fedora)",
        )
    folder = answer(python, "import sysconfig; print(sysconfig.get_path('include'))") or ""
    if not os.path.exists(os.path.join(folder, "Python.h")):
        raise InstallError(
            "Python's headers are missing; mmcv's operators have to be compiled once.",
            looked=os.path.join(folder, "Python.h"),
            install="python%d.%d-dev (Debian) or python3-devel (Fedora)" % python_version(python),
        )


def read_text(path: str) -> str:
    """A text file; empty where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def machine_limits() -> Tuple[int, float]:
    """(cores, free GiB) for this process, a container's limits included; 2 GiB if unknown."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = read_text("/sys/fs/cgroup/cpu.max").split()
    if quota and quota[0].isdigit():
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    found = re.search(r"MemAvailable:\s+(\d+) kB", read_text("/proc/meminfo"))
    free = int(found.group(1)) / 2**20 if found else 2.0
    limit = read_text("/sys/fs/cgroup/memory.max").strip()
    return cores, min(free, int(limit) / 2**30) if limit.isdigit() else free


def compile_jobs(cores: int, free_gib: float) -> int:
    """One file a core, 2 GiB of memory a file, at least one; MAX_JOBS overrides."""
    wanted = os.environ.get("MAX_JOBS", "")
    return max(1, int(wanted) if wanted.isdigit() else min(cores, int(free_gib // 2)))


# ---- what is to be installed -----------------------------------------------------------------


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(text: str) -> Dict[str, str]:
    """Requirement line by normalised name."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return {normal(re.split(r"[=<>!~;\[ @]", line)[0]): line for line in lines if line}


def torch_names(torch: str) -> List[str]:
    """Packages that TORCH names and so takes out of the pinned list; a wheel's path counts too."""
    words = [os.path.basename(word) for word in shlex.split(torch)]
    return [normal(re.match(r"[A-Za-z0-9_.]*", word).group()) for word in words]


def stamp_digest(python: Version, torch: str) -> str:
    """Changes with whatever would make .venv another one, its place included."""
    digest = hashlib.sha256(repr((ROOT, tuple(python), torch)).encode())
    for name in STAMPED_FILES:
        digest.update(("\0%s\0%s" % (name, read_text(os.path.join(ROOT, name)))).encode())
    return digest.hexdigest()


def read_stamp() -> Dict[str, str]:
    """What the last whole install left; empty where there is none."""
    try:
        stamp = json.loads(read_text(STAMP))
    except ValueError:
        return {}
    return stamp if isinstance(stamp, dict) else {}


# ---- mmcv's wheel ----------------------------------------------------------------------------


def wheel_cache() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cache = os.environ.get("LIGHTVIT_CACHE") or os.path.join(base, "lightvit_bench")
    return os.path.join(os.path.abspath(os.path.expanduser(cache)), "wheels")


def require_cache() -> None:
    cache = wheel_cache()
    try:
        os.makedirs(cache, exist_ok=True)
        tempfile.TemporaryFile(dir=cache).close()
    except OSError as error:
        message = "The cache of mmcv's wheel cannot be written: %s." % error.strerror
        raise InstallError(message, looked=cache, set="LIGHTVIT_CACHE=DIR") from error


def wheel_key(python: Version, torch: str, mmcv: str, machine: str) -> str:
    """Folder of a compiled mmcv; `torch` with its local tag, for its builds are not compatible."""
    return "cp%d%d-torch%s-mmcv%s-%s" % (python[0], python[1], torch, mmcv, machine)


def wheel_complaint(path: str) -> Optional[str]:
    """What is wrong with a wheel file; None if it is whole and has the compiled operators."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged, names = archive.testzip(), archive.namelist()
    except (OSError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        return "is damaged (%s)" % error
    if damaged:
        return "is damaged (%s)" % damaged
    if not any(name.startswith("mmcv/_ext.") for name in names):
        return "has no compiled operators"
    return None


def cached_wheel(python: Version, torch: str, mmcv: str) -> bool:
    """Whether a good wheel seems to be there, before torch is installed and its local tag known."""
    found = re.search(r"\btorch==([\w.+]+)", torch)
    key = wheel_key(python, (found.group(1) if found else "") + "*", mmcv, platform.machine())
    paths = glob.glob(os.path.join(wheel_cache(), key + "*", "*.whl"))
    return any(wheel_complaint(path) is None for path in paths)


def compile_progress(output: str) -> Optional[Tuple[int, int]]:
    """(files done, files in all) by ninja's last progress mark in `output`."""
    found = re.findall(r"^[ \t]*\[(\d+)/(\d+)\] ", output, re.MULTILINE)
    return (int(found[-1][0]), int(found[-1][1])) if found else None


def seconds_left(done: int, total: int, seconds: float, jobs: int) -> float:
    """By the measured pace, the expected one counting as eight files."""
    pace = (8 * SECONDS_PER_FILE / jobs + seconds) / (8 + done)
    return pace * (total - done)


def duration(seconds: float) -> str:
    return "%d s" % seconds if seconds < 90 else "%d min" % round(seconds / 60)


@contextlib.contextmanager
def locked(folder: str, waiting: str) -> Iterator[None]:
    """Hold a folder against other installers; the lock ends with its process, however that ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(waiting, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# ---- the steps -------------------------------------------------------------------------------


class Screen:
    """`[2/6] title ... 14 s`, ticking on a terminal, with a line now and then elsewhere."""

    def __init__(self, steps: int):
        self.steps, self.number, self.title = steps, 0, ""
        self.terminal, self.inline = sys.stdout.isatty(), False
        self.started = self.shown = 0.0

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        self.number += 1
        self.title = "[%d/%d] %s" % (self.number, self.steps, title)
        self.started = self.shown = time.monotonic()
        print(self.title + " ... ", end="", flush=True)
        self.inline = True
        yield
        spent = duration(time.monotonic() - self.started)
        if self.terminal:
            spent = "\r\033[K%s ... %s" % (self.title, spent)
        print(spent if self.inline or self.terminal else "      " + spent, flush=True)

    def say(self, text: str) -> None:
        print(("\n" if self.inline else "") + "      " + text, flush=True)
        self.inline = False

    def tick(self, note: str) -> None:
        """Show `note`, or the time so far where there is none."""
        now = time.monotonic()
        spent = duration(now - self.started)
        if self.terminal:
            print("\r\033[K%s ... %s" % (self.title, note or spent), end="", flush=True)
            self.inline = True
        elif now - self.shown >= (15 if note else 60):
            self.shown = now
            self.say(note or spent + " so far")


class Installer:
    def __init__(self, python: str, torch: str, pins: Dict[str, str]):
        self.python, self.torch, self.pins = python, torch, pins
        self.mmcv = pins[MMCV].split("==")[1]
        self.jobs = compile_jobs(*machine_limits())
        self.screen = Screen(steps=6)
        # PYTHONPATH and PIP_USER would put packages from elsewhere in the place of pinned ones.
        self.env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        self.env.update(PIP_USER="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
        # torch looks for ninja on PATH and compiles one file after the other without it.
        self.env["PATH"] = os.path.join(VENV, "bin") + os.pathsep + self.env.get("PATH", "")

    def run(self, command: List[str], note: Callable[[str], str] = lambda _: "", **env: str) -> int:
        """Run with all output into the log; `note` turns the output so far into a progress text."""
        with open(LOG, "ab") as log:
            log.write(("\n$ %s\n" % " ".join(map(shlex.quote, command))).encode())
            log.flush()
            start, both = log.tell(), {"stdout": log, "stderr": subprocess.STDOUT}
            process = subprocess.Popen(command, cwd=ROOT, env=dict(self.env, **env), **both)
        try:
            while True:
                try:
                    return process.wait(timeout=0.5)
                except subprocess.TimeoutExpired:
                    with open(LOG, "rb") as log:
                        log.seek(start)
                        self.screen.tick(note(log.read().decode(errors="replace")))
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()

    def pip(self, *arguments: str, note: Callable[[str], str] = lambda _: "", **env: str) -> None:
        if self.run([VENV_PYTHON, "-m", "pip"] + list(arguments), note, **env):
            self.fail("pip %s failed." % arguments[0])

    def fail(self, message: str) -> None:
        with open(LOG, encoding="utf-8", errors="replace") as log:
            tail = ["  | " + line.rstrip()[:300] for line in log][-30:]
        print("\n" + "\n".join(tail), flush=True)
        then = "the same command again continues from here"
        raise InstallError(self.screen.title + ": " + message, 1, log=LOG, then=then)

    def install(self, cached: bool) -> None:
        print("Installing into .venv: Python %d.%d" % python_version(self.python), self.python)
        print("To download: torch, and about 200 MB of other packages.")
        left = duration(SECONDS_PER_FILE * MMCV_FILES / self.jobs)
        compiling = "To compile, once: mmcv's operators, about %s, %d files at a time."
        print("Nothing to compile." if cached else compiling % (left, self.jobs), flush=True)
        step, taken = self.screen.step, torch_names(self.torch)
        with step("virtual environment"):
            self.make_venv()
        with step("build tools"):
            self.pip("install", "--no-deps", *[self.pins[name] for name in BUILD_TOOLS])
        with step(self.torch):
            # With its dependencies, unlike the rest: a CUDA build's are not in the pinned list.
            limits = self.requirements("torch-limits.txt", without=taken)
            self.pip("install", "-c", limits, *shlex.split(self.torch))
        with step("the packages of constraints.txt"):
            listed = self.requirements("packages.txt", without=taken + [MMCV])
            self.pip("install", "--no-deps", "--no-build-isolation", "-r", listed)
        with step("mmcv %s with compiled operators" % self.mmcv):
            self.install_mmcv()
        with step("lightvit_bench"):
            self.pip("install", "--no-deps", "--no-build-isolation", "-e", ".")

    def requirements(self, name: str, without: List[str]) -> str:
        path = os.path.join(VENV, name)
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(line + "\n" for key, line in self.pins.items() if key not in without)
        return path

    def make_venv(self) -> None:
        """Make .venv, or keep the one there if it runs the chosen Python."""
        if python_version(VENV_PYTHON) != python_version(self.python):
            command = [self.python, "-m", "venv", "--clear", VENV]
            made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if made.returncode:
                text = made.stdout.decode(errors="replace").strip()
                raise InstallError("%s failed:\n%s" % (" ".join(command), text), 1)
        open(LOG, "w").close()
        if self.run([VENV_PYTHON, "-m", "pip", "--version"]):  # cut off before pip was in it
            if self.run([VENV_PYTHON, "-m", "ensurepip"]):
                self.fail("no pip in .venv.")

    def install_mmcv(self) -> None:
        """Install the cached wheel; compile it, load it and cache it where there is no good one."""
        version, cuda = self.torch_build()
        key = wheel_key(python_version(VENV_PYTHON), version, self.mmcv, platform.machine())
        folder = os.path.join(wheel_cache(), key + ("-cuda" if cuda else ""))
        os.makedirs(folder, exist_ok=True)
        with locked(folder, "\n      another install is compiling them; waiting"):
            for path in glob.glob(os.path.join(folder, "*.whl")):
                complaint = wheel_complaint(path)
                if complaint is None and self.loads(path):
                    return
                complaint = complaint or "does not load"
                self.screen.say("%s %s: compiling it anew" % (path, complaint))
                os.unlink(path)
            for leftover in glob.glob(os.path.join(folder, ".build-*")):
                shutil.rmtree(leftover)
            with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as aside:
                built = self.build_mmcv(aside, cuda)
                if not self.loads(built):
                    self.fail("the compiled mmcv._ext does not load.")
                os.replace(built, os.path.join(folder, os.path.basename(built)))

    def torch_build(self) -> Tuple[str, bool]:
        """Installed torch's version, and whether the operators can be compiled for CUDA."""
        code = "import torch as t; print(t.__version__, t.version.cuda, t.cuda.is_available())"
        text = answer(VENV_PYTHON, code)
        if text is None:
            self.run([VENV_PYTHON, "-c", code])  # once more, for the log
            self.fail("import torch failed.")
        version, toolkit, device = text.split("\n")[-1].split()
        if toolkit == "None" or (device != "True" and os.environ.get("FORCE_CUDA") != "1"):
            return version, False
        # torch refuses an nvcc of another major version than its own CUDA.
        release = "release %s." % toolkit.split(".")[0]
        home = os.environ.get("CUDA_HOME") or "/usr/local/cuda"
        for nvcc in (os.path.join(home, "bin", "nvcc"), shutil.which("nvcc")):
            if nvcc and os.path.exists(nvcc):
                if release in subprocess.check_output([nvcc, "--version"]).decode():
                    return version, True
        self.screen.say("no nvcc of CUDA %s: operators for the CPU only" % toolkit)
        return version, False

    def build_mmcv(self, folder: str, cuda: bool) -> str:
        require_compiler(VENV_PYTHON)
        env = {"MMCV_WITH_OPS": "1", "MAX_JOBS": str(self.jobs)}
        env["CXX"] = self.env.get("CXX") or find_compiler()
        if not cuda:
            env.update(CUDA_VISIBLE_DEVICES="", FORCE_CUDA="0")
        started = 0.0  # when the first file was done: before that there is no pace

        def note(output: str) -> str:
            nonlocal started
            done, total = compile_progress(output) or (0, MMCV_FILES)
            now = time.monotonic()
            started = started or (now if done else 0.0)
            left = seconds_left(done, total, now - started if started else 0.0, self.jobs)
            return "mmcv operators %d/%d, about %s left" % (done, total, duration(left))

        # pip's own cache tells wheels apart by their source, not by the torch they were built with.
        options = ["-v", "--no-cache-dir", "--no-deps", "--no-build-isolation", "--no-binary", MMCV]
        self.pip("wheel", *options, "-w", folder, self.pins[MMCV], note=note, **env)
        path = glob.glob(os.path.join(folder, "*.whl"))[0]
        complaint = wheel_complaint(path)
        if complaint:
            self.fail("the wheel %s." % complaint)
        return path

    def loads(self, wheel: str) -> bool:
        """Install a wheel and see whether its operators load."""
        self.pip("install", "--no-deps", "--force-reinstall", wheel)
        return self.run([VENV_PYTHON, "-c", "import torch, mmcv._ext"]) == 0


def main(asked: Optional[str]) -> None:
    pins = read_pins(read_text(os.path.join(ROOT, "constraints.txt")))
    with locked(ROOT, "another install is at work on .venv; waiting"):
        # A torch or Python chosen once stays chosen: `TORCH=... make demo`, then plain `make test`.
        stamp = read_stamp()
        chosen = os.environ.get("TORCH") or stamp.get("torch", "")
        torch = chosen or pins["torch"]
        present = python_version(VENV_PYTHON)
        python = VENV_PYTHON if present in PYTHONS and not asked else choose_python(asked)
        version = python_version(python)
        if present == version and stamp.get("digest") == stamp_digest(version, torch):
            print("installed already: .venv, Python %d.%d, %s" % (version + (torch,)))
            return
        if present != version:
            require_venv_module(python)
        require_cache()
        cached = cached_wheel(version, torch, pins[MMCV].split("==")[1])
        if not cached:
            require_compiler(python)
        if stamp:
            os.unlink(STAMP)
        started = time.monotonic()
        Installer(python, torch, pins).install(cached)
        with open(STAMP + ".new", "w", encoding="utf-8") as file:
            json.dump({"digest": stamp_digest(version, torch), "torch": chosen}, file)
        os.replace(STAMP + ".new", STAMP)
        print("installed in " + duration(time.monotonic() - started))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=os.environ.get("PYTHON"), help="interpreter for .venv")
    try:
        main(parser.parse_args().python)
    except InstallError as error:
        print("InstallError: %s" % error, file=sys.stderr)
        sys.exit(error.code)
    except KeyboardInterrupt:
        print("\nstopped; the same command again continues", file=sys.stderr)
        sys.exit(130)

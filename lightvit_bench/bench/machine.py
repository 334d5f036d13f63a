"""The machine that a measurement was taken on, and what a process of it uses.

Standard library only. Nothing that names a person's computer (host, user, folders) is taken.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from lightvit_bench.bench import checks

# What decides how fast a network runs on an x86 CPU, as /proc/cpuinfo spells it.
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


@dataclass(frozen=True)
class Machine:
    """A computer, and how busy it was.

    Attributes:
        cpu: its name. A virtual machine's may say little; then family, model and stepping tell
            the generation. None of these is known where the system does not say.
        flags: those of `FLAGS` that the CPU has.
        cores: logical CPUs that this process may use; of how many.
        memory_mb: of the machine, in 10^6 bytes; a container may be allowed less.
        system: the operating system and its kernel.
        load: processes that wanted to run, mean of the last 1, 5 and 15 minutes. Our own are among
            them; more than those means that the machine was shared.

    Raises:
        BadDataError: a field is of another type or out of range.
    """

    cpu: str
    family: int | None
    model: int | None
    stepping: int | None
    flags: tuple[str, ...]
    cores: int
    cores_in_all: int
    memory_mb: int | None
    system: str
    python: str
    load: tuple[float, float, float] | None

    def __post_init__(self):
        for name in ("cpu", "system", "python"):
            checks.text(name, getattr(self, name))
        for name in ("family", "model", "stepping", "memory_mb"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, checks.whole(name, getattr(self, name)))
        for name in ("cores", "cores_in_all"):
            object.__setattr__(self, name, checks.whole(name, getattr(self, name), 1))
        if not isinstance(self.flags, (list, tuple)):
            raise checks.wrong("flags", "a list of names", self.flags)
        object.__setattr__(self, "flags", tuple(checks.text("flags", one) for one in self.flags))
        if self.load is not None:
            if not isinstance(self.load, (list, tuple)) or len(self.load) != 3:
                raise checks.wrong("load", "three numbers", self.load)
            object.__setattr__(self, "load", tuple(checks.number("load", x, 0) for x in self.load))

    @property
    def hardware(self) -> str:
        """The CPU, the cores in use and the memory, in a line."""
        kind = [
            f"{name} {getattr(self, name)}"
            for name in ("family", "model", "stepping")
            if getattr(self, name) is not None
        ]
        about = "; ".join(filter(None, [", ".join(kind), ", ".join(self.flags)]))
        of_all = f" of {self.cores_in_all}" if self.cores != self.cores_in_all else ""
        cores = f"{self.cores}{of_all} core{'s' if self.cores_in_all > 1 else ''}"
        memory = "" if self.memory_mb is None else f", {self.memory_mb / 1e3:.1f} GB"
        return f"{self.cpu}{f' ({about})' if about else ''}, {cores}{memory}"

    def __str__(self) -> str:
        load = "" if self.load is None else f"; load average {self.load[0]:.2f}"
        return f"{self.hardware}; {self.system}, Python {self.python}{load}"


def describe_machine(cpuinfo: str | os.PathLike = "/proc/cpuinfo") -> Machine:
    """This machine, now.

    Args:
        cpuinfo: Linux's file about the CPUs; where there is none, less is known.
    """
    told = _first_processor(cpuinfo)
    in_all = os.cpu_count() or 1
    flags = set((told.get("flags") or "").split())
    return Machine(
        cpu=" ".join((told.get("model name") or platform.processor() or platform.machine()).split())
        or "unknown",
        family=_digits(told.get("cpu family")),
        model=_digits(told.get("model")),
        stepping=_digits(told.get("stepping")),
        flags=tuple(name for name in FLAGS if name in flags),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else in_all,
        cores_in_all=in_all,
        memory_mb=_memory_mb(),
        system=_system(),
        python=platform.python_version(),
        load=_load(),
    )


def versions(*packages: str) -> dict[str, str | None]:
    """The versions of distributions ("opencv-python", ...), None where one is not installed.

    From their metadata: nothing is imported, which would cost the process its memory and time.
    """
    found: dict[str, str | None] = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def peak_memory_mb(status: str | os.PathLike = "/proc/self/status") -> float | None:
    """The most memory that this process has held, in 10^6 bytes; None where nothing tells.

    Linux's VmHWM, which starts anew with every program. `ru_maxrss` does not: the value of the
    process that forked is inherited and survives exec, so that a small tool started by a large
    process (a test run, say) would claim the large one's memory. It is taken only where there is no
    VmHWM.
    """
    return _status_mb(status, "VmHWM") or _rusage_mb()


def current_memory_mb(status: str | os.PathLike = "/proc/self/status") -> float | None:
    """The memory that this process holds now (VmRSS), in 10^6 bytes; None where nothing tells."""
    return _status_mb(status, "VmRSS")


def _first_processor(path: str | os.PathLike) -> dict[str, str]:
    """The first CPU's entries of /proc/cpuinfo."""
    try:
        text = Path(path).read_text(errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.strip().split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _digits(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]+", text) else None


def _load() -> tuple[float, float, float] | None:
    try:
        return os.getloadavg()
    except (AttributeError, OSError):
        return None


def _memory_mb() -> int | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6)
    except (AttributeError, OSError, ValueError):
        return None


def _system() -> str:
    kernel = f"{platform.system()} {platform.release()}".strip() or "unknown"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except (KeyError, OSError):
        return kernel


def _status_mb(path: str | os.PathLike, name: str) -> float | None:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB$", Path(path).read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found.group(1)) * 1024 / 1e6 if found else None


def _rusage_mb() -> float | None:
    try:
        import resource
    except ImportError:  # no Unix
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6

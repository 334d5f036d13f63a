"""Rows for the page's tests: few, each with a part to play, and text that tries to get out."""

from __future__ import annotations

from lightvit_bench.bench.parts import Curve, ModelSize, Recipe
from lightvit_bench.leaderboard.rows import NOT_NAMED, Row, Score, Speed

LINE = "</script><img src=x onerror='window.hacked=1'><!-- {{js}} &"
HOSTILE = f"{LINE} \u2028"  # which a record would refuse; the page need not rely on it
_ADE = dict(task="segmentation", dataset="ADE20K", split="val", protocol="ade20k-val@single-scale")
_LASOT = dict(
    task="tracking", dataset="LaSOT", split="test", protocol="lasot-ope-test280@as-published"
)


def published(key: str, miou: float, **others) -> Row:
    """A published row of ADE20K."""
    fields = dict(model=key.upper(), source=f"Paper {key}, table 1", **_ADE)
    fields["scores"] = {"miou": Score(miou)}
    return Row(key=key, origin="published", **(fields | others))


def page_rows() -> list[Row]:
    """Four boards: ADE20K published and measured, LaSOT published, and times on a CPU."""
    million = 1_000_000
    rows = [
        published(
            "a",
            42.8,
            recipe=Recipe("D²-MAE", head="Semantic FPN"),
            size=ModelSize(5_524_416, 8 * million),
            remarks=("starts from a checkpoint tuned with labels", "decoders differ"),
            speeds=(Speed(41.0, "frames/s", NOT_NAMED, "cpu"), Speed(24.0, "ms", "A CPU", "cpu")),
            url="https://example.org/a",
        ),
        published(
            "b",
            44.0,
            recipe=Recipe("TinyMIM", head="UPerNet"),
            size=ModelSize(5_800_000, 30 * million),
            remarks=("decoders differ",),
        ),
        published("c", 38.0, size=ModelSize(parameters=4 * million), remarks=("decoders differ",)),
        published("d", 41.0, remarks=("decoders differ",)),
        published(
            "evil",
            10.0,
            model=HOSTILE,
            variant=HOSTILE,
            source=HOSTILE,
            url="javascript:window.hacked=2",
            remarks=(HOSTILE, "decoders differ"),
            recipe=Recipe(LINE, head=LINE),
            size=ModelSize(9 * million),
        ),
        Row(
            key="lasot/x",
            origin="published",
            model="OSTrack",
            scores={"auc": Score(66.1), "precision": Score(60.0)},
            source="its repository",
            **_LASOT,
        ),
    ]
    curve = Curve((0, 100, 200), (3.0, 2.0, 1.5), "iteration", "loss")
    for name, mean, std, evaluated in (("m1", 39.0, 0.25, 2000), ("m2", 45.0, None, 1203)):
        rows.append(
            Row(
                key=f"measured/{name}",
                origin="measured",
                model=name,
                scores={"miou": Score(mean, std, 3 if std else 1)},
                expected=2000,
                evaluated=evaluated,
                seeds=(0, 1, 2) if std else (0,),
                command=f"tools/test.py configs/{name}.py {name}.pth --record records",
                checkpoint_sha256="ab" * 32,
                environment={"machine": "A CPU, 2 cores", "threads": "2"},
                curves={"training loss": curve},
                size=ModelSize(2 * million, 3 * million, macs=10**9, input="3 x 512 x 512"),
                speeds=(Speed(12.5, "ms", "A CPU", "cpu", of="network", threads=2),),
                date="2026-11-22T10:15:00Z",
                records=(f"{name}.json",),
                **_ADE,
            )
        )
    for i in range(60):
        scores = {"track_ms": Score(5.0 + i), "auc": Score(40.0 + i % 30)}
        rows.append(
            Row(
                key=f"times/{i}",
                origin="measured",
                task="tracking-latency",
                dataset="bag",
                split="",
                protocol="",
                model=f"tracker {i:02}",
                scores=scores,
                place="A CPU, 2 cores",
                environment={"runtime": "openvino", "precision": "bf16", "threads": "2"},
                command="tools/bench_track.py",
            )
        )
    return rows


def absurd_rows() -> list[Row]:
    """Rows that no page is made for: long words wherever a row has text, and figures of 1e300."""
    name = "MaST-Tiny-distilled-384-W" * 30
    long = [f"{'W' * n}-{'OSTrack_D2MAE_'[: n // 3]}"[:n] for n in (30, 45, 60)]
    made_of = Recipe(name, name, head=name, fine_tuning=name)
    rows = [
        published(
            f"absurd{i}",
            miou,
            model=model,
            variant=model,
            source=name,
            url=f"https://example.org/{name}",
            remarks=(name, f"{name}{i}"),
            recipe=made_of if i == 3 else Recipe(model[:30]),
            size=ModelSize(size, 2 * size, macs=size, input=name),
            speeds=(Speed(1e300, "ms", name, "cpu"),),
            config=name,
        )
        for i, (model, miou, size) in enumerate(
            zip(
                (*long, name),
                (39.0, 41.0, 43.0, 1e300),
                (4 * 10**6, 5 * 10**6, 6 * 10**6, 2**61),
                strict=True,
            )
        )
    ]
    rows.append(published("a", 42.8, size=ModelSize(5_524_416, 8_000_000)))
    scores = {"miou": Score(1e300, 1e299, 3)}
    rows.append(
        Row(
            key="absurd/measured",
            origin="measured",
            model=name,
            scores=scores,
            size=ModelSize(2**60, 2**61, macs=2**62, input="3 x 512 x 512"),
            speeds=(Speed(1e300, "ms", name, "cpu", of="network", threads=2),),
            expected=10**12,
            evaluated=10**12,
            command=f"tools/test.py {name}",
            commit=name,
            environment={name: name},
            curves={name: Curve((0, 10**12), (1e300, 1.5), name, name)},
            **_ADE,
        )
    )
    return rows

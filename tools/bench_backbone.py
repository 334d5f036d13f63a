#!/usr/bin/env python3
"""Time our backbone beside mmsegmentation's MAE backbone, same architecture, same input.

The two take turns, so that a machine that changes its speed changes both; the ratio of each turn's
pair is what counts. Prints medians and the spread of the ratio.
"""

import argparse
import platform
import statistics
import time

from lightvit_bench.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, default=512, help="side of the image in pixels")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--turns", type=int, default=15, help="pairs that are counted")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--rel-pos", action="store_true", help="compare with the full ADE20K recipe"
    )
    args = parser.parse_args()

    import torch

    from lightvit_bench import compat

    compat.prepare()
    compat.import_mmseg()
    from mmseg.models.backbones import MAE

    from lightvit_bench.openmmlab.backbone import ViTBackbone

    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    out = (3, 5, 7, 11)
    theirs = MAE(
        img_size=(args.shape, args.shape),
        embed_dims=192,
        num_layers=12,
        num_heads=12,
        out_indices=out,
        norm_cfg=dict(type="LN", eps=1e-6),
        init_values=1.0,
    )
    ours = ViTBackbone(
        "vit_tiny_p16_h12",
        img_size=args.shape,
        out_blocks=out,
        rel_pos=args.rel_pos,
        layer_scale=1.0,
    )
    image = torch.randn(args.batch, 3, args.shape, args.shape)

    def infer(model) -> float:
        model.eval()
        start = time.perf_counter()
        with torch.no_grad():
            model(image)
        return time.perf_counter() - start

    def train(model) -> float:
        model.train()
        start = time.perf_counter()
        sum(x.square().mean() for x in model(image)).backward()
        model.zero_grad()
        return time.perf_counter() - start

    print(f"ViT-Tiny (12 heads), {args.batch} x {args.shape} px, float32, {args.threads} threads")
    print(f"torch {torch.__version__}, {_cpu()}")
    for name, run in (("inference", infer), ("training step", train)):
        for model in (ours, theirs):
            run(model)  # warm-up
        times = [(run(ours), run(theirs)) for _ in range(args.turns)]
        ratios = [reference / mine for mine, reference in times]
        mine, reference = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
        print(
            f"  {name:14} ours {mine:7.0f} ms   mmseg {reference:7.0f} ms   "
            f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def _cpu() -> str:
    with open("/proc/cpuinfo") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    run_cli(main)

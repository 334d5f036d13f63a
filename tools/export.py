#!/usr/bin/env python3
"""Write a trained model as one file for ONNX Runtime or OpenVINO, and check it against PyTorch.

A tracker becomes a file that `Tracker.from_file` and tools/track.py take, without PyTorch. Of any
other config (segmentation, detection) the encoder is exported, for batches of any size.

examples:
  tools/export.py tracker.safetensors tracker.xml         # or "shipped": what comes with this
  tools/export.py configs/lasot/ostrack_dmae_tiny.py iter_140400.pth tracker.xml --precision int8 \\
      --sequences data/lasot
  tools/export.py configs/ade20k/upernet_dmae_tiny.py iter_160000.pth encoder.onnx --size 512,512
"""

import argparse
import tempfile
from pathlib import Path

from lightvit_bench.cli import add_config_options
from lightvit_bench.errors import run_cli


def size(text: str) -> tuple[int, int]:
    """ "512,512" or "512" -> height, width."""
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 2) or min(values, default=0) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not H,W in pixels")
    return (values * 2)[:2]


def batch(text: str) -> int:
    """A number of targets; "any" -> 0."""
    if text == "any":
        return 0
    if not text.isdigit() or not 1 <= int(text) <= 4096:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number from 1 to 4096 nor 'any'")
    return int(text)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", help="the run's config; not needed for a tracker's "
                        "NAME.safetensors")  # fmt: skip
    parser.add_argument("checkpoint", help="iter_N.pth of a run, NAME.safetensors, or 'shipped': "
                        "the tracker that comes with this")  # fmt: skip
    parser.add_argument("out", type=Path, help="NAME.onnx, or NAME.xml (NAME.bin beside it)")
    parser.add_argument("--format", choices=("onnx", "openvino"), help="by default as OUT ends")
    parser.add_argument("--precision", choices=("fp32", "bf16", "int8"), default="fp32")
    parser.add_argument("--force", action="store_true", help="overwrite OUT")
    tracker = parser.add_argument_group("trackers")
    tracker.add_argument("--sequences", metavar="FOLDER", help="real sequences to calibrate int8 "
                         "and to compare boxes on, one folder each (frames, groundtruth.txt); "
                         "made videos by default")  # fmt: skip
    tracker.add_argument("--batch", type=batch, metavar="N", help="targets at once, or "
                         "'any' (1)")  # fmt: skip
    tracker.add_argument("--bound", type=float, metavar="PX", help="the largest difference of a "
                         "box's edge from PyTorch's that is accepted")  # fmt: skip
    encoder = parser.add_argument_group("encoders of other models")
    encoder.add_argument("--size", type=size, metavar="H,W", help="of the image (the config's)")
    encoder.add_argument("--images", metavar="FOLDER", help="images to compare on")
    add_config_options(parser)
    args = parser.parse_args()
    if args.format is None:
        args.format = "openvino" if args.out.suffix == ".xml" else "onnx"
    return args


def refuse(args: argparse.Namespace, what: str, *names: str) -> None:
    """`ConfigError` where an option was given that says nothing to what is exported."""
    from lightvit_bench.errors import ConfigError

    given = [
        f"--{name}" for name in names if getattr(args, name.replace("-", "_")) not in (None, [])
    ]
    if given:
        raise ConfigError(f"{' and '.join(given)} is not for {what}.", do="leave it out")


def main() -> None:
    """Export, and say what was written and how far it is from PyTorch."""
    args = parse()
    if args.config is None:
        refuse(args, "a tracker's own file, which needs no config", "cfg-options")
        export_tracker(args, None if args.checkpoint == "shipped" else args.checkpoint)
        return
    from lightvit_bench.errors import ConfigError
    from lightvit_bench.openmmlab.config import is_tracking, load_config

    cfg = load_config(args.config, args.cfg_options)
    if not is_tracking(cfg):
        export_encoder(args)
    elif args.checkpoint == "shipped" or args.checkpoint.endswith(".safetensors"):
        raise ConfigError(
            f"{args.checkpoint} says itself how it is built; a config would not be asked.",
            do=f"tools/export.py {args.checkpoint} {args.out}",
        )
    else:
        from lightvit_bench.tracking.export import export_tracker as from_run

        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / f"{Path(args.config).stem}.safetensors"
            from_run(args.config, args.checkpoint, weights, cfg_options=args.cfg_options)
            export_tracker(args, weights)


def export_tracker(args: argparse.Namespace, weights: str | Path | None) -> None:
    refuse(args, "trackers", "size", "images")
    from lightvit_bench.tracking.exporting.crops import crops_of
    from lightvit_bench.tracking.exporting.write import check_request, export_model, in_brief

    check_request(args.out, args.format, args.precision, args.force)
    made = export_model(
        weights,
        args.out,
        crops_of(weights, args.sequences),
        format=args.format,
        precision=args.precision,
        batch=1 if args.batch is None else args.batch,
        bound_px=args.bound,
        overwrite=args.force,
    )
    print(in_brief(made))


def export_encoder(args: argparse.Namespace) -> None:
    from lightvit_bench.errors import ConfigError
    from lightvit_bench.openmmlab.export_encoder import export_encoder as export
    from lightvit_bench.openmmlab.export_encoder import in_brief

    refuse(args, "the encoders of other models", "sequences", "batch", "bound")
    if args.precision != "fp32":
        raise ConfigError(
            f"encoders are exported in fp32, not in {args.precision}.",
            do="leave --precision out; OpenVINO computes the file in bf16 where it is told to",
        )
    made = export(
        args.config,
        args.checkpoint,
        args.out,
        size=args.size,
        format=args.format,
        cfg_options=args.cfg_options,
        overwrite=args.force,
        crops=args.images,
    )
    print(in_brief(made))


if __name__ == "__main__":
    run_cli(main)

#!/usr/bin/env python3
"""Convert a published checkpoint into a safetensors file with a manifest.

sources (--from NAME):
  mae-lite-pretrain  MAE-Lite pre-training: MAE, D-MAE, D²-MAE (12 heads)
  mae-lite-finetune  MAE-Lite fine-tuned: plain, relative positions of 2023 and of 2025 (12 heads)
  mocov3             MoCo-v3 as MAE-Lite trains it (12 heads)
  facebook-mae       facebookresearch/mae, base (12 heads) and large (16)
  deit               facebookresearch/deit without distillation token (3, 6 or 12 heads by width)
  timm               a timm ViT; needs --preset, for the head count cannot be told
  mae-lite-hiera     MAE-Lite's Hiera-Tiny: MAE, D-MAE, and fine-tuned
  meta-hiera         facebookresearch/hiera, Hiera-Base, pre-trained or fine-tuned
  ostrack            a tracker: OSTrack, and MAE-Lite's with ViT-Tiny (12 heads)

examples:
  tools/convert_checkpoint.py mae_tiny_distill_400e.pth.tar checkpoints/dmae_tiny.safetensors \\
      --from mae-lite-pretrain
  tools/convert_checkpoint.py OSTrack_ep0300.pth.tar checkpoints/tracker.safetensors --from ostrack
"""

import argparse

from lightvit_bench.errors import CheckpointError, ConfigError, near_matches, run_cli


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="file of torch.save, or safetensors")
    parser.add_argument("out", help="file to write, NAME.safetensors")
    parser.add_argument("--from", dest="name", metavar="NAME", required=True, help="see above")
    parser.add_argument("--preset", help="architecture; refused where it contradicts the source")
    parser.add_argument("--recipe", help="how it was trained, where the file does not tell")
    parser.add_argument("--drop", action="append", default=[], metavar="NAME",
                        help="leave out tensors whose names begin so (repeatable)")  # fmt: skip
    parser.add_argument("--image-stats", choices=("imagenet", "half"), default="imagenet",
                        help="pixel mean and std the weights expect; half: 0.5")  # fmt: skip
    parser.add_argument("--eliminate", choices=("ce", "none"),
                        help="of a tracker: candidate elimination as the authors have it (ce, the "
                        "default), or none; the file does not tell")  # fmt: skip
    parser.add_argument("--half", action="store_true",
                        help="of a tracker: store the weights in float16")  # fmt: skip
    parser.add_argument("--force", action="store_true", help="overwrite OUT")
    return parser.parse_args()


def main() -> None:
    """Convert, and print what became of each part of the source."""
    args = parse()
    import warnings

    from lightvit_bench.checkpoint import CONVERTERS, HeadCountWarning, convert_file
    from lightvit_bench.tracking.published import NAME, convert_tracker, looks_like_ostrack

    warnings.simplefilter("ignore", HeadCountWarning)  # the report says it
    name, known = args.name.replace("_", "-").lower(), [*CONVERTERS, NAME]
    if name not in known:
        near = ", ".join(near_matches(name, known))
        raise CheckpointError(f"there is no converter {args.name!r}.", near=near)
    options = {"preset": args.preset, "recipe": args.recipe, "overwrite": args.force}
    if args.image_stats == "half":
        options |= {"image_mean": (0.5,) * 3, "image_std": (0.5,) * 3}
    if name == NAME:
        if args.drop:
            raise ConfigError(f"--drop is not for {NAME}: each tensor of a tracker has a place.")
        eliminate = args.eliminate or "ce"
        report = convert_tracker(
            args.source, args.out, eliminate=eliminate, half=args.half, **options
        )
    else:
        if args.eliminate or args.half:
            raise ConfigError("--eliminate and --half are of trackers.", needs=f"--from {NAME}")
        try:
            report = convert_file(args.source, args.out, name, drop=args.drop, **options)
        except CheckpointError as error:
            if not looks_like_ostrack(args.source):
                raise
            details = {**error.details, "looks_like": f"a tracker of OSTrack's: --from {NAME}"}
            raise CheckpointError(error.message, **details) from None
    print(f"{report}\nwritten     {args.out}")


if __name__ == "__main__":
    run_cli(main)

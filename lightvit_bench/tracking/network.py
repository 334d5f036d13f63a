"""The one-stream network: template and search region through one encoder, then a head.

OSTrack (Ye et al., ECCV 2022) as MAE-Lite uses it: the tokens of both crops attend to one another
in every block, so that features are extracted and compared at once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightvit_bench.errors import ConfigError, near_matches
from lightvit_bench.tracking.checks import check_kind, check_number, check_whole
from lightvit_bench.tracking.heads import ConvHead, Maps, MlpHead
from lightvit_bench.tracking.pruning import (
    Search,
    attention_to_search,
    gaussian_prior,
    kept,
    middle_token,
)
from lightvit_bench.vit import VisionTransformer, ViTPreset, get_preset
from lightvit_bench.vit.position import resample_table

HEADS = ("conv", "mlp")


@dataclass(frozen=True)
class NetworkSpec:
    """All that fixes a network but its weights.

    Attributes:
        preset: of the encoder, head count included.
        template_size, search_size: pixels a side of the two inputs, 16 to 4096.
        template_factor, search_factor: side of the squares cut out, in roots of the box's area;
            at most 10.
        head: "conv" (OSTrack's, `head_channels` wide, 8 to 4096) or "mlp" (for each token).
        eliminate, keep: blocks that eliminate candidates, and the share they keep; none: ().
        prune_after: blocks whose attention sees all search tokens, before they are pruned once to
            the share `keep`; 0: never.

    Raises:
        ConfigError: a field is of another type or out of range, contradicts another one, or names
            what the encoder does not have.
    """

    preset: str = "vit_tiny_p16_h12"
    template_size: int = 128
    search_size: int = 256
    template_factor: float = 2.0
    search_factor: float = 4.0
    head: str = "conv"
    head_channels: int = 256
    eliminate: tuple[int, ...] = (3, 6, 9)
    keep: float = 0.7
    prune_after: int = 0

    def __post_init__(self):
        if not isinstance(self.eliminate, (list, tuple)):
            raise ConfigError(f"eliminate is a list of blocks, not {self.eliminate!r}.")
        object.__setattr__(self, "eliminate", tuple(self.eliminate))
        check_kind("preset", self.preset, str)
        check_kind("head", self.head, str)
        for name in ("template_size", "search_size"):
            check_whole(f"{name}, in pixels,", getattr(self, name), 16, 4096)
        for name in ("template_factor", "search_factor"):
            check_number(name, getattr(self, name), above=0, most=10)
        check_whole("head_channels", self.head_channels, 8, 4096)  # they are halved three times
        check_whole("prune_after", self.prune_after, 0)
        for block in self.eliminate:
            check_whole("a block of eliminate", block, -(2**31))  # its range is told below
        if self.head not in HEADS:
            raise ConfigError(
                f"there is no head {self.head!r}.", near=near_matches(self.head, HEADS)
            )
        if self.eliminate and self.prune_after:
            raise ConfigError(
                "candidates are eliminated in blocks, or pruned once, not both.",
                set="eliminate=() or prune_after=0",
            )
        check_number("keep, a share of tokens,", self.keep, above=0, most=1)
        preset = get_preset(self.preset, ViTPreset)
        if self.template_size % preset.patch or self.search_size % preset.patch:
            raise ConfigError(
                f"crops of {self.template_size} and {self.search_size} pixels are not whole "
                f"patches of {preset.patch}.",
                set="template_size, search_size",
            )
        blocks = range(preset.depth)
        if not all(i in blocks for i in (*self.eliminate, max(self.prune_after - 1, 0))):
            raise ConfigError(
                f"{self.preset} has blocks 0 to {preset.depth - 1}.",
                asked_for=f"eliminate={self.eliminate}, prune_after={self.prune_after}",
            )

    def to_dict(self) -> dict:
        """Plain values, which `NetworkSpec(**values)` takes back."""
        return asdict(self)


class Output(NamedTuple):
    """A forward pass.

    maps: of the head. removed: positions (B, n) of the search tokens that left, stage by stage.
    features: (B, Lz + h*w, D), template and search tokens after the final norm, those that left
    zero; None unless asked for.
    """

    maps: Maps
    removed: list[Tensor]
    features: Tensor | None = None


class OneStreamTracker(nn.Module):
    """Template and search region in, maps out.

    Args:
        spec: the architecture.
        drop_path: stochastic depth rate of the last block, in training.
    """

    def __init__(self, spec: NetworkSpec, *, drop_path: float = 0.0):
        super().__init__()
        self.spec = spec
        self.backbone = VisionTransformer(
            spec.preset, img_size=spec.search_size, cls_token=False, drop_path=drop_path
        )
        width, patch = self.backbone.preset.width, self.backbone.preset.patch
        self.search_grid = self.backbone.grid
        side = spec.template_size // patch
        self.template_grid = (side, side)
        self.template_positions = nn.Parameter(
            self._template_table(self.backbone.pos_embed, self.search_grid)
        )
        self.head = ConvHead(width, spec.head_channels) if spec.head == "conv" else MlpHead(width)

    def _template_table(self, table: Tensor, grid: tuple[int, int]) -> Tensor:
        return resample_table(table.detach(), grid, self.template_grid, cls_token=False).clone()

    @torch.no_grad()
    def start_from(self, encoder: VisionTransformer) -> None:
        """Take an encoder's weights; both position tables are resampled from its own table.

        Its CLS token stays behind: the tracker has none.
        """
        weights = encoder.state_dict()
        weights.pop("cls_token", None)
        table = weights["pos_embed"][:, encoder.prefix_tokens :]
        self.template_positions.copy_(self._template_table(table, encoder.grid))
        weights["pos_embed"] = resample_table(
            table, encoder.grid, self.search_grid, cls_token=False
        )
        self.backbone.load_state_dict(weights)

    def forward(
        self,
        template: Tensor,
        search: Tensor,
        *,
        keep: float | None = None,
        prior_wh: Tensor | None = None,
        want_features: bool = False,
    ) -> Output:
        """Normalised crops (B, 3, S, S) -> `Output`.

        Args:
            keep: share of tokens kept at each stage; the spec's by default. 1 keeps all.
            prior_wh: (B, 2), the last box's width and height as fractions of the search region,
                for pruning with a prior; by default those of a square box.
        """
        tokens, region = self.encode(self.embed_template(template), search, keep, prior_wh)
        length = self.template_positions.shape[1]
        maps = self.maps(tokens[:, length:], region, self.backbone.grid_of(search))
        features = None
        if want_features:
            features = torch.cat([tokens[:, :length], region.restore(tokens[:, length:])], dim=1)
        return Output(maps, region.removed, features)

    def embed_template(self, template: Tensor) -> Tensor:
        """Template (B, 3, S, S), normalised -> its tokens (B, Lz, D) as the first block gets them.

        They are the same in every frame: a tracker computes them once.
        """
        return self.backbone.patchify(template, self.template_positions)

    def maps(self, tokens: Tensor, region: Search, grid: tuple[int, int]) -> Maps:
        """The head's maps from the search tokens (B, K, D) that `encode` left of a grid of patches.

        Sizes are fractions of the region at hand, whose objects are as large in a smaller one.
        """
        maps = self.head(tokens, region, grid)
        if grid == self.search_grid:
            return maps
        return maps._replace(size=maps.size * (self.search_grid[0] / grid[0]))

    def search_positions(self, grid: tuple[int, int]) -> Tensor:
        """Positions (1, h*w, D) of a search region of `grid` patches: the middle of the table.

        A smaller region, cut out with a factor smaller in proportion, shows the middle of a whole
        one: the same pixels at the same places.
        """
        if grid == self.search_grid:
            return self.backbone.pos_embed
        (rows, columns), (height, width) = self.search_grid, grid
        if height > rows or width > columns or (rows - height) % 2 or (columns - width) % 2:
            raise ConfigError(
                f"a search region of {width} x {height} patches is no middle part of {columns} x "
                f"{rows}.",
                set="search_size to less by an even number of patches",
            )
        top, left = (rows - height) // 2, (columns - width) // 2
        table = self.backbone.pos_embed.unflatten(1, self.search_grid)
        return table[:, top : top + height, left : left + width].flatten(1, 2)

    def encode(
        self,
        template_tokens: Tensor,
        search: Tensor,
        keep: float | None = None,
        prior_wh: Tensor | None = None,
    ) -> tuple[Tensor, Search]:
        """Run the blocks and the final norm on what `embed_template` gave and a search region.

        Returns the tokens (B, Lz + K, D), those of the search region last, and the places of the K
        that are left. The region may be smaller than the spec's: see `search_positions`.
        """
        spec, keep = self.spec, self.spec.keep if keep is None else keep
        length = template_tokens.shape[1]
        grid = self.backbone.grid_of(search)
        search_tokens = self.backbone.patchify(search, self.search_positions(grid))
        tokens = torch.cat([template_tokens, search_tokens], dim=1)
        region = Search.whole(tokens.shape[1] - length)
        middle = middle_token(self.template_grid)
        row = slice(middle, middle + 1)
        for i, block in enumerate(self.backbone.blocks):
            if i in spec.eliminate or i + 1 == spec.prune_after:
                tokens, logits = block.attend(tokens, want_logits=row)
                scores = attention_to_search(logits, length)
                left = kept(scores.shape[1], keep)
                if spec.prune_after:
                    if prior_wh is None:
                        square = self.search_grid[0] / grid[0] / spec.search_factor
                        prior_wh = tokens.new_full((len(tokens), 2), square)
                    scores = scores * gaussian_prior(prior_wh, grid)
                tokens = block.feed(region.reduce(tokens, length, scores, left))
            else:
                tokens, _ = block(tokens)
        return self.backbone.norm(tokens), region

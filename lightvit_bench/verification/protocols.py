"""Ids of protocols from what was judged, and whether a record's coverage follows from its files.

A standard id is of exactly the standard set, scored in its own way; whatever else is scored has
another id, so that it is never ranked beside the standard one. The same functions name a test when
it is recorded and when it is verified. LaSOT's ids: `metrics.lasot.protocol_id`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from lightvit_bench.bench.record import RunRecord
from lightvit_bench.data.got10k import COUNTS
from lightvit_bench.data.lasot import expected_names
from lightvit_bench.metrics import got10k, lasot
from lightvit_bench.verification.keeping import as_ranges


@dataclass(frozen=True)
class Labels:
    """How pictures are scored.

    Attributes:
        classes: how many.
        digest: `names_sha256` of their names, in order.
        first: the value of class 0 in masks; lower ones are ignored.
        ignore: the value (after `first` is taken off) that is ignored as well.
    """

    classes: int
    digest: str
    first: int
    ignore: int


@dataclass(frozen=True)
class Whole:
    """A set that what was judged may be a part of: its protocol's id, and its possible sizes."""

    protocol: str
    sizes: frozenset[int]


_ADE_VAL = frozenset(f"ADE_val_{number:08d}" for number in range(1, 2001))
_CAMVID = {"test": 233, "val": 101}
_OWN_LABELS = {
    "ADE20K": Labels(
        150, "2133f0a0e71146d00a14482f872bc5888f66d706f90f1b1333a7eb5025989af9", 1, 255
    ),
    "CamVid": Labels(
        11, "97a8b28971b6f83cf8181955e4f98f58c3596d92fd170af6a011d24f281f36cc", 0, 255
    ),
}
_COCO_VAL, _COCO_IMAGES = "instances_val2017.json", 5000
# COCO's 80 categories have gaps between their ids.
_COCO_CATEGORIES = "1-11 13-25 27-28 31-44 46-65 67 70 72-82 84-90"
_GOT10K_VAL = frozenset(f"GOT-10k_Val_{n:06d}" for n in range(1, COUNTS["val"] + 1))


def names_sha256(names: Iterable[str]) -> str:
    """SHA-256 of names, in the order given."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def picture_protocol(
    title: str, split: str, names: Collection[str], labels: Labels
) -> tuple[str, str]:
    """The protocol's id and the split's name, of a set of pictures.

    `ade20k-val@single-scale` for ADE20K's 2,000 names; `camvid-test@single-scale` for as many as
    CamVid's split has. Scored with other classes, or another value ignored, these become
    `camvid-test-2-classes-1a2b3c4d@single-scale`, `...-ignore-3@...` or `...-first-1@...`. Any
    other set is `TITLE-N-images-1a2b3c4d@single-scale`: a hash of its names and of how it is
    scored.

    Args:
        title: the data set's name for people: "ADE20K", "CamVid".
        names: of the pictures of the whole set, without ending.
    """
    if title == "ADE20K" and len(names) == len(_ADE_VAL) and set(names) == _ADE_VAL:
        which, split = "ade20k-val", "val"
    elif title == "CamVid" and len(set(names)) == len(names) == _CAMVID.get(split):
        which = f"camvid-{split}"
    else:
        scored = (str(labels.classes), labels.digest, str(labels.first), str(labels.ignore))
        digest = names_sha256([*sorted(names), "", *scored])[:8]
        plain = re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")
        return f"{plain}-{len(names)}-images-{digest}@single-scale", split
    own = _OWN_LABELS[title]
    if (labels.classes, labels.digest) != (own.classes, own.digest):
        which += f"-{labels.classes}-classes-{labels.digest[:8]}"
    if labels.ignore != own.ignore:
        which += f"-ignore-{labels.ignore}"
    if labels.first != own.first:
        which += f"-first-{labels.first}"
    return f"{which}@single-scale", split


def object_protocol(
    title: str,
    file_name: str,
    images: Collection[str],
    categories: Collection[int],
    every: Collection[int],
) -> str:
    """The protocol's id of a set of pictures with objects.

    `coco-val2017@coco-ap` for the 5,000 images of COCO's validation file and its 80 categories;
    with fewer categories `coco-val2017-2-categories-1a2b3c4d@coco-ap`. Other sets are
    `coco-N-images-1a2b3c4d@coco-ap`: a hash of their images' names and of the categories scored.

    Args:
        file_name: of the annotation file.
        images: names of its pictures, without ending.
        categories: ids of those that are scored; `every`: of all that the file has.
    """
    scored = as_ranges(categories)
    standard = (
        title == "COCO"
        and file_name == _COCO_VAL
        and len(images) == _COCO_IMAGES
        and as_ranges(every) == _COCO_CATEGORIES
    )
    if not standard:
        digest = names_sha256([*sorted(images), "", scored])[:8]
        return f"coco-{len(images)}-images-{digest}@coco-ap"
    if scored == _COCO_CATEGORIES:
        return "coco-val2017@coco-ap"
    part = f"{len(set(categories))}-categories-{names_sha256([scored])[:8]}"
    return f"coco-val2017-{part}@coco-ap"


def lasot_wholes(
    judged: Collection[str], record: RunRecord, rule: lasot.Rule, *annotated: Collection[str]
) -> list[Whole]:
    """Sets that judged sequences may be a part of: LaSOT's, and what is annotated.

    Sequences of one's own may have LaSOT's names: `sequences3-1a2b3c4d@RULE` fits any.
    """
    judged = frozenset(judged)
    splits = {name: frozenset(expected_names(name)) for name in ("test", "train", "all")}
    own_sizes = {len(judged), *map(len, annotated)}
    if record.dataset == "LaSOT" and record.split in splits:
        own_sizes.add(len(splits[record.split]))
    if record.dataset == "LaSOT-ext":
        own_sizes.add(150)
    found = []
    for names in dict.fromkeys((judged, *map(frozenset, annotated), *splits.values())):
        if not judged <= names:
            continue
        protocol = lasot.protocol_id(names, rule)
        sizes = {len(names)}
        if names == judged and not protocol.startswith(("lasot-ope-", "lasot-ext-ope-")):
            sizes = own_sizes  # the id has their number: fewer than there are is shown as a part
        found.append(Whole(protocol, frozenset(sizes)))
        own = f"sequences{len(names)}-{names_sha256(sorted(names))[:8]}@{rule}"
        found.append(Whole(own, frozenset(sizes)))
    return found


def got10k_wholes(judged: Collection[str], split: str, there: Collection[str]) -> list[Whole]:
    """Sets that judged sequences of GOT-10k may be a part of."""
    judged, found = frozenset(judged), []
    for names in dict.fromkeys((judged, frozenset(there), _GOT10K_VAL)):
        if not judged <= names:
            continue
        if names == _GOT10K_VAL and split == "val":
            found.append(Whole(got10k.PROTOCOL, frozenset({len(names)})))
            continue
        digest = names_sha256(sorted(names))[:8]
        sizes = {len(names), *({len(there), COUNTS[split]} if names == judged else ())}
        protocol = f"got10k-{split}-subset{len(names)}-{digest}@toolkit"
        found.append(Whole(protocol, frozenset(sizes)))
    return found


def coverage(record: RunRecord, judged: int, wholes: Iterable[Whole]) -> list[str]:
    """Lines on protocol, `expected` and `evaluated` of a record that its files do not bear out.

    Args:
        judged: how many of its predictions were judged now.
        wholes: what they may be a part of; what they most likely are comes first.
    """
    found, wholes = [], list(wholes)
    if record.evaluated != judged:
        found.append(f"{judged} are judged, and the record says that {record.evaluated} were")
    fitting = [one.sizes for one in wholes if one.protocol == record.protocol]
    if not fitting:
        found.append(
            f"what is judged is {wholes[0].protocol}, and the record says {record.protocol}: its "
            "protocol does not follow from its names and its truth"
        )
    elif not any(record.expected in sizes for sizes in fitting):
        sizes = " or ".join(map(str, sorted(set().union(*fitting))))
        found.append(
            f"{record.protocol} is of {sizes}, and the record says that {record.expected} were "
            "expected"
        )
    return found

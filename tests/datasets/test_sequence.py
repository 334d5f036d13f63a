"""Annotations are read when asked for, and not all of them are kept."""

import numpy as np

from lightvit_bench.data import sequence
from lightvit_bench.data.sequence import Annotation, Sequence


def test_the_oldest_annotations_are_forgotten_and_read_again(monkeypatch):
    monkeypatch.setattr(sequence, "_MOST_ROWS", 10)
    monkeypatch.setattr(sequence, "_kept", sequence._Kept())
    loads = []

    def made(name, rows, still=False):
        def load():
            loads.append(name)
            return Annotation(np.ones((rows, 4)), np.ones(rows, bool), np.ones(rows))

        return Sequence("set", name, range(rows), load, still)

    a, b, c, long, photo = (
        made("a", 4),
        made("b", 4),
        made("c", 4),
        made("d", 50),
        made("e", 1, True),
    )
    for one in (photo, a, b, a, b, photo):
        assert len(one.annotation.boxes_xywh) == len(one)
    assert loads == ["e", "a", "b"]
    assert c.annotation is c.annotation  # twelve rows: the first goes
    assert "_annotation" not in vars(a) and b.annotation is b.annotation and loads[3:] == ["c"]
    assert a.annotation.visible.all() and loads[3:] == ["c", "a"]
    held = long.annotation  # too long by itself: it stays, and alone
    assert long.annotation is held and not any("_annotation" in vars(one) for one in (a, b, c))
    assert photo.annotation.visible.all() and loads[5:] == ["d"]

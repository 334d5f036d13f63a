"""Overlays: the right colour in the right place."""

import numpy as np

from lightvit_bench.segmentation.overlay import legend, overlay, panel

PALETTE = [[255, 0, 0], [0, 255, 0]]  # RGB


def test_colours_are_blended_and_void_is_dark():
    image = np.full((1, 3, 3), 100, np.uint8)
    drawn = overlay(image, np.array([[0, 1, 255]]), PALETTE, opacity=0.5)
    assert drawn[0, 0].tolist() == [50, 50, 178]  # red, in BGR
    assert drawn[0, 1].tolist() == [50, 178, 50]
    assert drawn[0, 2].tolist() == [50, 50, 50]


def test_legend_grows_when_it_is_narrow():
    names, palette = ["pedestrian"] * 6, [[i, i, i] for i in range(6)]
    wide = legend(names, palette, range(6), width=2000)
    narrow = legend(names, palette, range(6), width=150)
    assert wide.shape[1] == 2000 and narrow.shape[1] == 150
    assert narrow.shape[0] > 4 * wide.shape[0]


def test_panel_sets_image_and_maps_side_by_side():
    image = np.zeros((40, 60, 3), np.uint8)
    maps = [np.zeros((40, 60), int), np.full((40, 60), 255)]
    drawn = panel(image, maps, ["road", "car"], PALETTE)
    assert drawn.shape[1] == 180 and drawn.shape[0] > 40
    assert drawn[:40, 60:120, 2].min() > 0 and drawn[:40, 120:].max() == 0
    strip = drawn[40:]
    assert (strip == [0, 0, 255]).all(axis=2).any()  # class 0 is named
    assert not (strip == [0, 255, 0]).all(axis=2).any()  # class 1 does not occur

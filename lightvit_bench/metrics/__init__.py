"""Scores of predictions, in numpy alone; COCO's by either of its two evaluators."""

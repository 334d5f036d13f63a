"""Scores of predictions, in numpy alone."""

"""Whole jobs, wired from the parts: profile, prune, demo."""

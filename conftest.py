"""Tests are collected from tests/ and src/, never again through the links at the root."""

collect_ignore = ["profiler", "pruning", "benchmarks", "hw_models"]

"""Names of benchmarked files: a folder that all share says nothing."""

from dataclasses import replace

import report_samples as samples

from joulecut.benchmarks.records import Comparison
from joulecut.reports.bench_tables import ratio_table, without_folder


def in_folders(comparison: Comparison, *folders: str) -> Comparison:
    """The same networks, each in a folder."""
    names = {
        model.file: f"{folder}/{model.file}"
        for model, folder in zip(comparison.models, folders, strict=True)
    }  # fmt: skip
    models = tuple(replace(model, file=names[model.file]) for model in comparison.models)
    pairs = tuple(replace(pair, a=names[pair.a], b=names[pair.b]) for pair in comparison.pairs)
    return replace(comparison, models=models, pairs=pairs)


def test_a_common_folder_is_left_out() -> None:
    plain = samples.comparison()
    assert without_folder(in_folders(plain, "small", "small", "small")) == plain
    assert [row[0].text for row in ratio_table(without_folder(plain)).rows] == [
        "after.onnx",
        "after-int8.onnx",
    ]


def test_folders_that_tell_files_apart_stay() -> None:
    apart = in_folders(samples.comparison(), "old", "new", "new")
    assert without_folder(apart) == apart

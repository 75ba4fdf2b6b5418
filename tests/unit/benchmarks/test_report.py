"""The figures of benchmarks."""

from benchmarks.report import Figure, line


def test_ratio_is_the_median_of_the_runs_ratios() -> None:
    """One disturbed run moves neither side alone."""
    assert Figure("x", "ms", [1, 2, 90], "bare", [2, 4, 3]).ratio == 0.5


def test_ratio_leaves_out_runs_that_have_none() -> None:
    """A limit of nothing, such as no job that survived, divides nothing and is still printed."""
    assert Figure("x", "ms", [1, 6], "bare", [0, 3]).ratio == 2
    figure = Figure("known", "of 5", [5.0], "Ray Jobs", [0.0])
    assert figure.ratio is None
    assert line(figure).split() == ["known", "5", "of", "5", "0", "Ray", "Jobs"]

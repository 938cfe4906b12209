"""The leaderboard as a picture: each method's test error over that of the training mean, target by target."""

from __future__ import annotations

import io
from collections.abc import Sequence

from xtlray.records import ResultRecord

# Okabe and Ito's palette, which colour-blind readers can tell apart; shapes differ too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_SHAPES = ("o", "s", "D", "^", "v", "P", "X")


def style(n: int) -> tuple[str, str]:
    """Colour and shape of the nth method: 42 pairs before one comes again."""
    return _COLOURS[n % len(_COLOURS)], _SHAPES[n % len(_SHAPES)]


def relative_errors(results: Sequence[ResultRecord]) -> dict[str, dict[str, float]]:
    """By method and target, test MAE over the test MAE of the training mean; the lowest where there are several.

    Results without test rows, and those of the mean itself, are not in it.
    """
    found: dict[str, dict[str, float]] = {}
    for row in results:
        if row.method == "base" or row.test_mae is None or not row.base_mae:
            continue
        ratio = row.test_mae / row.base_mae
        of_method = found.setdefault(row.method, {})
        of_method[row.target] = min(ratio, of_method.get(row.target, ratio))
    return found


def error_plot(results: Sequence[ResultRecord], title: str) -> str | None:
    """A dot plot as SVG text: a row per target, a mark per method, and the published figures where there are any.

    Returns None where no result has a test error.
    """
    import matplotlib

    matplotlib.use("svg", force=False)
    from matplotlib.figure import Figure

    ratios = relative_errors(results)
    targets = sorted({target for of_method in ratios.values() for target in of_method}, reverse=True)
    if not targets:
        return None
    place = {target: i for i, target in enumerate(targets)}
    figure = Figure(figsize=(7.5, 1.4 + 0.36 * len(targets)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_yticks(range(len(targets)), targets)
    axes.grid(axis="x", alpha=0.3)
    axes.axvline(1.0, color="0.5", linewidth=1, label="base (training mean)")
    for n, (method, of_method) in enumerate(sorted(ratios.items())):
        colour, shape = style(n)
        rows = [place[target] for target in of_method]
        axes.scatter(list(of_method.values()), rows, color=colour, marker=shape, s=42, label=method, zorder=3)
    published = {r.target: r.ref_best_transfer / r.base_mae for r in results if r.ref_best_transfer and r.base_mae}
    if published:
        rows = [place[target] for target in published if target in place]
        values = [published[target] for target in published if target in place]
        axes.scatter(values, rows, color="black", marker="|", s=160, label="best transfer, Gupta et al. 2021", zorder=2)
    axes.set_xlim(left=0)
    axes.set_xlabel("test MAE / test MAE of the training mean (lower is better)")
    axes.set_title(title, fontsize=11)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()

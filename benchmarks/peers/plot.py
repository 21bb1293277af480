"""Records → bars: the time of each method as a multiple of an ordinary step."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.methods import NAMES as METHODS
from benchmarks.peers.models import NAMES as MODELS
from benchmarks.peers.results import Record

__all__ = ["plotted"]

#: Of each method, one colour in every plot: those of Okabe and Ito, which differ for everybody.
COLOURS = {
    "loop": "#999999",
    "vmap": "#E69F00",
    "opacus_hooks": "#56B4E9",
    "opacus_ghost": "#0072B2",
    "backpack": "#009E73",
    "fastdp": "#CC79A7",
    "clipcompiler": "#D55E00",
}


def plotted(records: Sequence[Record], path: Path) -> bool:
    """Writes the plot; whether there is one: matplotlib may be missing."""
    if importlib.util.find_spec("matplotlib") is None:
        return False
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "peers"  # the same records give the same file
    from matplotlib import pyplot as plt

    ratios = {(r["model"], r["method"]): r["times"]["ratio"] for r in records if r["status"] == "exact"}
    models = [m for m in MODELS if any(model == m for model, _ in ratios)]
    methods = [m for m in METHODS if m in COLOURS and any(method == m for _, method in ratios)]
    figure, axes = plt.subplots(figsize=(max(6.0, 1.0 * len(models)), 4.2), layout="constrained")
    width = 0.8 / max(1, len(methods))
    for k, method in enumerate(methods):
        present = [(i, ratios[m, method]) for i, m in enumerate(models) if (m, method) in ratios]
        places = [i + (k - (len(methods) - 1) / 2) * width for i, _ in present]
        heights = [r["median"] for _, r in present]
        spread = [[r["median"] - r["lower"] for _, r in present], [r["upper"] - r["median"] for _, r in present]]
        axes.bar(places, heights, width, yerr=spread, label=method.replace("_", " "), color=COLOURS[method],
                 error_kw={"linewidth": 0.8})  # fmt: skip
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_ylabel("time / ordinary step")
    axes.set_yticks([1, 2, 5, 10, 20, 50], labels=["1", "2", "5", "10", "20", "50"])
    axes.set_xticks(range(len(models)), models, rotation=35, ha="right")
    axes.legend(ncols=4, fontsize="small", frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return True

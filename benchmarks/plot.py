"""`plot.py POINTS.json OUT.svg`: draw time against size. Run in an environment that has matplotlib."""

import json
import sys
from collections import defaultdict

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "mgmt", "svg.fonttype": "none", "font.size": 9})

import matplotlib.pyplot as plt  # noqa: E402 - the backend is chosen first

TITLES = {"bytes": "bytes of one file", "files": "files in a folder", "rows": "members in the catalog"}


def main(source: str, target: str) -> None:
    """A panel for each kind of size that has points, both axes logarithmic."""
    with open(source) as file:
        points = json.load(file)
    lines: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        lines[point["plot"]][point["line"]].append((point["x"], point["seconds"]))
    plots = [name for name in TITLES if name in lines]
    figure, panels = plt.subplots(1, len(plots), figsize=(4.2 * len(plots), 3.6), squeeze=False, layout="constrained")
    for name, panel in zip(plots, panels[0], strict=True):
        for label, each in lines[name].items():
            x, seconds = zip(*sorted(each), strict=True)
            panel.plot(x, seconds, marker="o", label=label)
        panel.set(xscale="log", yscale="log", xlabel=TITLES[name], ylabel="seconds")
        panel.grid(visible=True, alpha=0.3)
        panel.legend()
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What a figure shows, read back from it."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from numpy.typing import NDArray


def error_bars(axes: Axes, label: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (x, y) and ends (low, high) of the error bars drawn under a label."""
    (found,) = (
        item
        for item in axes.containers
        if isinstance(item, ErrorbarContainer) and item.get_label() == label
    )
    line, _, bars = found.lines
    assert line is not None
    ends = [segment[:, 1] for item in bars for segment in item.get_segments() if len(segment)]
    return points_of(line), np.array(ends)


def rows_of(table: pd.DataFrame, protocol: str, epoch: int) -> pd.DataFrame:
    chosen = (table["protocol"] == protocol) & (table["epoch"] == epoch)
    return table[chosen].sort_values("batch_size")


def points_of(line: Line2D) -> NDArray[np.float64]:
    """Points (x, y) of a curve."""
    return np.asarray(line.get_xydata(), dtype=np.float64)


def shown_texts(figure: Figure) -> list[Text]:
    """Every text that is not empty."""
    return [
        text
        for text in figure.findobj(Text)
        if isinstance(text, Text) and text.get_text().strip() and text.get_visible()
    ]

"""The training run that the checkpoints are taken from."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from gradatlas.figures.style import COLUMN_WIDTH, epoch_colours, epoch_label

SPLITS = {"test": "-", "train": ":"}


def training(table: pd.DataFrame, checkpoints: Sequence[int]) -> Figure:
    """Loss and accuracy after every epoch, the checkpoints marked.

    Args:
        table: Table of the training run.
        checkpoints: Epochs whose weights were kept.
    """
    figure = Figure(figsize=(COLUMN_WIDTH, 3.6))
    loss, accuracy = figure.subplots(2, sharex=True)
    _draw(loss, table, "loss", checkpoints)
    _draw(accuracy, table, "accuracy", checkpoints)
    loss.set_ylabel("mean loss (nats)")
    loss.set_ylim(bottom=0)
    loss.legend()
    accuracy.set_ylabel("accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    accuracy.set_xlabel("epoch")
    accuracy.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _draw(axes: Axes, table: pd.DataFrame, quantity: str, checkpoints: Sequence[int]) -> None:
    for split, line in SPLITS.items():
        column = table[f"{split}_{quantity}"]
        axes.plot(table["epoch"], column, color="black", linestyle=line, label=split)
    for epoch, colour in epoch_colours(checkpoints).items():
        axes.axvline(epoch, color=colour, linewidth=4, alpha=0.35, zorder=0)
        at = table[table["epoch"] == epoch]
        axes.plot(
            at["epoch"],
            at[f"test_{quantity}"],
            color=colour,
            marker="o",
            markersize=5,
            linestyle="none",
            label=f"checkpoint, {epoch_label(epoch, checkpoints)}",
        )

"""Interactive pages: one self-contained HTML file each, readable without a network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import altair as alt
import pandas as pd

from gradatlas.core.files import replace_file
from gradatlas.figures.inputs import left_out, read_norms, read_table
from gradatlas.figures.style import looks

WIDTH, HEIGHT = 640, 260  # pixels
ALL = "all"
KEY = ["protocol", "epoch", "batch_size"]
# Nothing can be opened elsewhere, but a chart can be kept as a picture.
OPTIONS = {"actions": {"export": True, "source": False, "compiled": False, "editor": False}}


def write_pages(
    statistics: Path, maps: Sequence[Path], norm_page: Path, distribution_page: Path
) -> None:
    """Write both pages.

    Args:
        statistics: Table of statistics.
        maps: HDF5 files of ``gradatlas.statistics.batch_size``, of all protocols.
        norm_page: HTML file for the norm against batch size.
        distribution_page: HTML file for the norms of single trials.

    Raises:
        InputError: The table of statistics is no such table.
    """
    table = read_table(statistics)
    for page, chart in (
        (norm_page, norm_chart(table)),
        (distribution_page, distribution_chart(norms_of_trials(maps), left_out(table))),
    ):
        chart = chart.configure_axis(labelFontSize=12, titleFontSize=13)
        html = chart.configure_title(fontSize=15).to_html(inline=True, embed_options=OPTIONS)
        replace_file(page, html.encode())


def norm_chart(statistics: pd.DataFrame) -> alt.VConcatChart:
    """Mean norm with its standard deviation, and below the relative spread with its interval."""
    mean, deviation = statistics["mean_norm"], statistics["std_norm"]
    spread = ["relative_std", "relative_std_low", "relative_std_high"]
    columns = [*KEY, "trials", "diverged_trials", "mean_norm", "std_norm", *spread]
    table = statistics[columns].assign(low=mean - deviation, high=mean + deviation)
    title = alt.Title(
        "Norm of the gradient S of a trial, and its spread",
        subtitle=left_out(statistics).splitlines(),
    )
    menus, chosen = _menus(table, "protocol", "epoch")
    norm = _curves(table, ["mean_norm", "low", "high"], "|S|, mean ± 1 std (nats)")
    below = _curves(table, spread, "std / mean of |S|, with interval")
    chart = alt.vconcat(norm, below, data=_data(table), title=title)
    return chart.add_params(*menus).transform_filter(chosen)


def distribution_chart(norms: pd.DataFrame, remark: str = "") -> alt.Chart:
    """Histogram of the norms of single trials at one batch size.

    Args:
        norms: Table of ``norms_of_trials``.
        remark: What to say below the title.
    """
    title = alt.Title("Norm of the gradient S of single trials", subtitle=remark.splitlines())
    bins = alt.Bin(maxbins=80)
    chart = (
        alt.Chart(_data(norms), width=WIDTH, height=HEIGHT, title=title)
        .mark_bar(opacity=0.75)
        .encode(
            x=alt.X("norm:Q", bin=bins, title="|S| of a trial (nats)"),
            y=alt.Y("count()", stack=None, title="trials"),
            color=_epoch_colour(norms),
            tooltip=[
                alt.Tooltip("norm:Q", bin=bins, title="|S|"),
                alt.Tooltip("count()", title="trials"),
                alt.Tooltip("epoch:N"),
            ],
        )
    )
    menus, chosen = _menus(norms, "protocol", "epoch", "batch_size")
    filtered: alt.Chart = chart.add_params(*menus).transform_filter(chosen)
    return filtered


def norms_of_trials(maps: Sequence[Path]) -> pd.DataFrame:
    """Norms of all trials that did not diverge: protocol, epoch, batch_size, norm."""
    tables = [
        pd.DataFrame({**{name: getattr(settings, name) for name in KEY}, "norm": norm})
        for settings, norm, _ in map(read_norms, maps)
    ]
    return pd.concat(tables, ignore_index=True)


def _curves(
    table: pd.DataFrame, columns: Sequence[str], title: str
) -> alt.LayerChart | alt.FacetChart:
    """Points joined by lines, with bars between two columns; pointing at one tells its values.

    Args:
        table: Table of ``norm_chart``.
        columns: Height of the points, lower and upper end of the bars.
        title: Name of the vertical axis.
    """
    column, low, high = columns
    base = alt.Chart(width=WIDTH, height=HEIGHT).encode(
        x=alt.X(
            "batch_size:Q",
            axis=alt.Axis(format="d"),
            scale=alt.Scale(type="log", base=2, nice=False, padding=12),
            title="batch size B (samples)",
        ),
        color=_epoch_colour(table),
    )
    lower, height = (
        alt.Y(f"{name}:Q", scale=alt.Scale(zero=False), title=title) for name in (low, column)
    )
    facts = [*KEY, "trials", "diverged_trials"]
    numbers = ["mean_norm", "std_norm", "relative_std", low, high]
    points = base.mark_point(filled=True, size=55, opacity=1).encode(
        y=height,
        shape=alt.Shape("epoch:N", legend=None),
        tooltip=[
            *(alt.Tooltip(f"{name}:N") for name in facts),
            *(alt.Tooltip(f"{name}:Q", format=".4g") for name in numbers),
        ],
    )
    bars = base.mark_rule().encode(y=lower, y2=high)
    return alt.layer(bars, base.mark_line().encode(y=height), points)


def _data(table: pd.DataFrame) -> alt.InlineData:
    """A table as CSV inside the page, a fifth of what records would take."""
    content = table.to_csv(index=False, float_format="%.6g")
    numbers = [name for name in table.columns if name != "protocol"]
    parse: dict[str, Literal["number"]] = dict.fromkeys(numbers, "number")
    return alt.InlineData(values=content, format=alt.CsvDataFormat(type="csv", parse=parse))


def _epoch_colour(table: pd.DataFrame) -> alt.Color:
    colours = {epoch: look.colour for epoch, look in looks(table["epoch"]).items()}
    return alt.Color(
        "epoch:N",
        scale=alt.Scale(domain=[*colours], range=[*colours.values()]),
        legend=alt.Legend(title="epoch"),
    )


def _menus(table: pd.DataFrame, *fields: str) -> tuple[list[alt.Parameter], str]:
    """A menu for each field, and the condition that a row has what they choose."""
    protocols = [str(name) for name in table["protocol"].value_counts().index]
    batch_sizes = sorted(table["batch_size"].unique().tolist())
    options: dict[str, tuple[Sequence[str | int], str | int]] = {  # and what is chosen at first
        "protocol": (protocols, protocols[0]),
        "epoch": ([ALL, *looks(table["epoch"])], ALL),
        "batch_size": (batch_sizes, batch_sizes[-1]),
    }
    menus = [
        alt.param(
            name=f"chosen_{field}",
            bind=alt.binding_select(options=[*offered], name=f"{field.replace('_', ' ')}: "),
            value=first,
        )
        for field, (offered, first) in options.items()
        if field in fields
    ]
    conditions = (
        f"(chosen_{field} == '{ALL}' || datum.{field} == chosen_{field})" for field in fields
    )
    return menus, " && ".join(conditions)

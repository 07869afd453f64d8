"""Interactive pages: one self-contained HTML file each, readable without a network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import altair as alt
import pandas as pd

from gradatlas.core.files import replace_file
from gradatlas.figures.reading import epochs_of, left_out, read_table
from gradatlas.figures.style import epoch_colours
from gradatlas.statistics.description import read_trials

WIDTH, HEIGHT = 640, 260  # pixels
ALL = "all"


def write_pages(
    statistics: Path, maps: Sequence[Path], norm_page: Path, distribution_page: Path
) -> None:
    """Write both pages.

    Args:
        statistics: Table of statistics.
        maps: HDF5 files of ``statistics.batch_size.describe_batch_size``, of all protocols.
        norm_page: HTML file for the norm against batch size.
        distribution_page: HTML file for the norms of single trials.

    Raises:
        InputError: The table of statistics is no such table.
    """
    table = read_table(statistics)
    _write(norm_page, norm_chart(table))
    _write(distribution_page, distribution_chart(read_norms(maps), left_out(table)))


def norm_chart(statistics: pd.DataFrame) -> alt.VConcatChart:
    """Mean norm with its standard deviation, and below the relative spread with its interval.

    Args:
        statistics: Table of statistics.
    """
    columns = [
        *("protocol", "epoch", "batch_size", "trials", "diverged_trials"),
        *("mean_norm", "std_norm", "relative_std", "relative_std_low", "relative_std_high"),
    ]
    table = statistics[columns].assign(
        low=statistics["mean_norm"] - statistics["std_norm"],
        high=statistics["mean_norm"] + statistics["std_norm"],
    )
    menus = [_menu("protocol", _protocols(table)), _menu("epoch", [ALL, *epochs_of(table)])]
    norm = _curves(table, "mean_norm", ("low", "high"), "|S|, mean ± 1 std (nats)")
    spread = _curves(
        table,
        "relative_std",
        ("relative_std_low", "relative_std_high"),
        "std / mean of |S|, with interval",
    )
    return (
        alt.vconcat(
            norm,
            spread,
            data=_data(table),
            title=alt.Title(
                "Norm of the gradient S of a trial, and its spread",
                subtitle=left_out(statistics).splitlines(),
            ),
        )
        .add_params(*menus)
        .transform_filter(f"({_chosen('protocol')}) && ({_chosen('epoch')})")
    )


def distribution_chart(norms: pd.DataFrame, remark: str = "") -> alt.Chart:
    """Histogram of the norms of single trials at one batch size.

    Args:
        norms: Table of ``read_norms``.
        remark: What to say below the title.
    """
    sizes = sorted(norms["batch_size"].unique().tolist())
    menus = [
        _menu("protocol", _protocols(norms)),
        _menu("epoch", [ALL, *epochs_of(norms)]),
        _menu("batch_size", sizes, chosen=sizes[-1]),
    ]
    chart = (
        alt.Chart(
            _data(norms),
            width=WIDTH,
            height=HEIGHT,
            title=alt.Title(
                "Norm of the gradient S of single trials", subtitle=remark.splitlines()
            ),
        )
        .mark_bar(opacity=0.75)
        .encode(
            x=alt.X("norm:Q", bin=alt.Bin(maxbins=80), title="|S| of a trial (nats)"),
            y=alt.Y("count()", stack=None, title="trials"),
            color=_epoch_colour(norms),
            tooltip=[
                alt.Tooltip("norm:Q", bin=alt.Bin(maxbins=80), title="|S|"),
                alt.Tooltip("count()", title="trials"),
                alt.Tooltip("epoch:N"),
            ],
        )
    )
    filtered: alt.Chart = chart.add_params(*menus).transform_filter(
        f"({_chosen('protocol')}) && ({_chosen('epoch')}) && ({_chosen('batch_size')})"
    )
    return filtered


def read_norms(maps: Sequence[Path]) -> pd.DataFrame:
    """Norms of all trials that did not diverge: protocol, epoch, batch_size, norm."""
    read = map(read_trials, maps)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "protocol": item.protocol,
                    "epoch": item.epoch,
                    "batch_size": item.batch_size,
                    "norm": item.columns["norm"][item.finite],
                }
            )
            for item in read
        ],
        ignore_index=True,
    )


def _curves(
    table: pd.DataFrame, column: str, ends: tuple[str, str], title: str
) -> alt.LayerChart | alt.FacetChart:
    """Points joined by lines, with bars between two columns; pointing at one tells its values."""
    base = alt.Chart(width=WIDTH, height=HEIGHT).encode(
        x=alt.X(
            "batch_size:Q",
            axis=alt.Axis(format="d"),
            scale=alt.Scale(type="log", base=2, nice=False, padding=12),
            title="batch size B (samples)",
        ),
        color=_epoch_colour(table),
    )
    scale = alt.Scale(zero=False)
    bars = base.mark_rule().encode(y=alt.Y(f"{ends[0]}:Q", scale=scale, title=title), y2=ends[1])
    lines = base.mark_line().encode(y=alt.Y(f"{column}:Q", scale=scale, title=title))
    points = base.mark_point(filled=True, size=55, opacity=1).encode(
        y=alt.Y(f"{column}:Q", scale=scale, title=title),
        shape=alt.Shape("epoch:N", legend=None),
        tooltip=[
            *(
                alt.Tooltip(f"{name}:N")
                for name in ("protocol", "epoch", "batch_size", "trials", "diverged_trials")
            ),
            *(
                alt.Tooltip(f"{name}:Q", format=".4g")
                for name in ("mean_norm", "std_norm", "relative_std", *ends)
            ),
        ],
    )
    return alt.layer(bars, lines, points)


def _data(table: pd.DataFrame) -> alt.InlineData:
    """A table as CSV inside the page, a fifth of what records would take."""
    content = table.to_csv(index=False, float_format="%.6g")
    numbers = [name for name in table.columns if name != "protocol"]
    parse: dict[str, Literal["number"]] = dict.fromkeys(numbers, "number")
    return alt.InlineData(values=content, format=alt.CsvDataFormat(type="csv", parse=parse))


def _protocols(table: pd.DataFrame) -> list[str]:
    """Protocols, the one with the most rows first."""
    return [str(name) for name in table["protocol"].value_counts().index]


def _epoch_colour(table: pd.DataFrame) -> alt.Color:
    epochs = epochs_of(table)
    colours = epoch_colours(epochs)
    return alt.Color(
        "epoch:N",
        scale=alt.Scale(domain=epochs, range=[colours[epoch] for epoch in epochs]),
        legend=alt.Legend(title="epoch"),
    )


def _menu(
    field: str, options: Sequence[str | int], chosen: str | int | None = None
) -> alt.Parameter:
    """A menu whose choice ``_chosen`` filters by."""
    menu = alt.binding_select(options=[*options], name=f"{field.replace('_', ' ')}: ")
    return alt.param(name=f"chosen_{field}", bind=menu, value=chosen or options[0])


def _chosen(field: str) -> str:
    """Vega expression that keeps the rows of a menu's choice."""
    return f"chosen_{field} == '{ALL}' || datum.{field} == chosen_{field}"


def _write(page: Path, chart: alt.VConcatChart | alt.Chart) -> None:
    """Write a chart with all that draws it; nothing is fetched."""
    options = {"actions": {"export": True, "source": False, "compiled": False, "editor": False}}
    chart = chart.configure_axis(labelFontSize=12, titleFontSize=13).configure_title(fontSize=15)
    replace_file(page, chart.to_html(inline=True, embed_options=options).encode())

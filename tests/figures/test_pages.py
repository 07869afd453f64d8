"""Interactive pages: all data inside, nothing fetched."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradatlas.figures.pages import (
    distribution_chart,
    norm_chart,
    norms_of_trials,
    write_pages,
)
from tests.figures import tables as made_up
from tests.statistics.synthetic import draw


def data_of(chart: Any) -> pd.DataFrame:
    """The table inside a chart."""
    (content,) = chart.to_dict()["datasets"].values()
    return pd.read_csv(io.StringIO(content))


def menus_of(chart: Any) -> dict[str, list[Any]]:
    """Options of each menu."""
    return {
        param["name"]: param["bind"]["options"]
        for param in chart.to_dict()["params"]
        if "bind" in param
    }


def test_norm_page_holds_the_table_and_its_menus() -> None:
    table = made_up.statistics_table()
    chart = norm_chart(table)
    data = data_of(chart)
    for column in ("mean_norm", "std_norm", "relative_std_low", "relative_std_high"):
        np.testing.assert_allclose(data[column], table[column], rtol=1e-5)
    np.testing.assert_allclose(data["low"], table["mean_norm"] - table["std_norm"], rtol=1e-5)
    menus = menus_of(chart)
    assert set(menus["chosen_protocol"]) == {"sgd", "frozen"}
    assert menus["chosen_epoch"] == ["all", 2, 30]


def test_norm_page_says_how_many_trials_diverged() -> None:
    table = made_up.statistics_table()
    table.loc[table["protocol"] == "sgd", "diverged_trials"] = 1
    (said,) = norm_chart(table).to_dict()["title"]["subtitle"]
    assert said == "12 of 12000 trials of sgd diverged and are left out"
    assert data_of(norm_chart(table))["diverged_trials"].sum() == 12


def test_distribution_page_holds_every_trial_that_did_not_diverge(maps: list[Path]) -> None:
    norms = norms_of_trials(maps)
    expected = np.linalg.norm(np.delete(draw(12), 3, axis=0).reshape(11, -1), axis=1)
    for size in (4, 64):
        found = norms[norms["batch_size"] == size]["norm"]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    chart = distribution_chart(norms, "2 of 24 trials")
    assert chart.to_dict()["title"]["subtitle"] == ["2 of 24 trials"]
    np.testing.assert_allclose(data_of(chart)["norm"], norms["norm"], rtol=1e-5)
    assert menus_of(chart)["chosen_batch_size"] == [4, 64]


def test_pages_fetch_nothing(maps: list[Path], tmp_path: Path) -> None:
    statistics = tmp_path / "statistics.csv"
    made_up.statistics_table().to_csv(statistics, index=False)
    pages = tmp_path / "norm.html", tmp_path / "distribution.html"
    write_pages(statistics, maps, *pages)
    for page in pages:
        text = page.read_text()
        markup = re.sub(r"<script\b.*?</script>", "<script/>", text, flags=re.DOTALL)
        assert not re.search(r"(src|href)=", markup)
        assert not re.search(r"<script[^>]+src=", text[:2000])
        assert "vegaEmbed" in text
        (spec,) = re.findall(r"const spec = (\{.*\});", text)
        assert json.loads(spec)["datasets"]

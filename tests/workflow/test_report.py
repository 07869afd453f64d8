"""The report and the interactive pages in a browser without a network."""

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.smallest import finish

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
waiting = pytest.importorskip("selenium.webdriver.support.wait")

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="chromium and chromium-driver are not installed",
)

RULES = Path(__file__).parents[2] / "workflow" / "rules" / "figures.smk"
FIGURES = re.findall(r'\bfigure\(\s*"\w+",\s*"([^"]+)"', RULES.read_text())
CATEGORIES = {**Counter(FIGURES), "7 Tables": 6, "8 Interactive pages": 2}
SHOWN = "table a[iconname='eye']"
CAPTION = "table a[iconname='information-circle']"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium that resolves no host name."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1400,1000",
        "--host-resolver-rules=MAP * ~NOTFOUND",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.implicitly_wait(30)  # seconds, on a machine that is busy
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def report(finished: Path, repository: Path) -> Path:
    """The report of the finished experiment."""
    path = finished / "report.html"
    output = finish(finished, "--report", str(path), repository=repository)
    assert "WARNING/" not in output  # of a caption that is no proper rst
    return path


def open_category(browser: Any, report: Path, category: str) -> None:
    browser.get(report.as_uri())
    browser.find_element("xpath", f"//*[normalize-space(text())='{category}']").click()


def problems(browser: Any) -> list[str]:
    """Errors in the console, failed requests among them."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_report_tells_the_experiment(browser: Any, report: Path) -> None:
    browser.get(report.as_uri())
    text = browser.find_element("xpath", "//*[contains(., 'How does the gradient')]").text
    assert "gradient of the trial" in text
    assert "B = 5, 16" in text
    assert problems(browser) == []


# One of figures and that of pages; the others are the same in kind.
QUICK = ("3 Steps", "8 Interactive pages")


@pytest.mark.parametrize(
    ("category", "count"),
    [
        pytest.param(name, count, marks=[] if name in QUICK else [pytest.mark.slow])
        for name, count in CATEGORIES.items()
    ],
)
def test_every_result_has_a_caption_and_is_shown(
    browser: Any, report: Path, category: str, count: int
) -> None:
    open_category(browser, report, category)
    assert len(browser.find_elements("css selector", SHOWN)) == count
    for place in range(count):
        open_category(browser, report, category)
        browser.find_elements("css selector", CAPTION)[place].click()
        assert len(browser.find_element("css selector", ".prose").text) > 60
    if category != "7 Tables":  # which open outside the report
        open_category(browser, report, category)
        browser.find_element("css selector", SHOWN).click()
        assert_rendered(browser)
    assert problems(browser) == []


def assert_rendered(browser: Any) -> None:
    """A figure has pixels of its own, a page a drawing inside."""
    shown = browser.find_element("css selector", "img[src*='filename=']:not([src*='logo']), iframe")
    if shown.tag_name == "img":
        size = "return [arguments[0].naturalWidth, arguments[0].naturalHeight]"
        assert min(browser.execute_script(size, shown)) > 100
    else:
        browser.switch_to.frame(shown)
        drawing = browser.find_element("css selector", "svg.marks")
        assert min(drawing.size.values()) > 100
        browser.switch_to.default_content()


def drawn(browser: Any) -> str:
    drawing = browser.find_element("css selector", "svg.marks")
    return str(browser.execute_script("return arguments[0].innerHTML", drawing))


@pytest.mark.parametrize("name", ["norm_vs_batch_size", "norm_distribution"])
def test_page_stands_alone_and_answers_to_its_menu(browser: Any, finished: Path, name: str) -> None:
    browser.get((finished / "results" / "figures" / f"{name}.html").as_uri())
    before = drawn(browser)
    menu = browser.find_element("css selector", "select[name='chosen_protocol']")
    options = menu.find_elements("css selector", "option")
    assert {option.text for option in options} == {"sgd", "frozen", "sgd_reordered"}
    # That draws other samples; where a trial is one minibatch, the other two are the same.
    next(option for option in options if option.text == "sgd_reordered").click()
    # It is drawn again some time after the click.
    waiting.WebDriverWait(browser, 30).until(lambda _: drawn(browser) != before)
    assert problems(browser) == []

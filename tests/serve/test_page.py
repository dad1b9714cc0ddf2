"""The page in a real browser: what a person does with it, from typing to adapting. Nothing outside may be asked for."""

import os
import time
from pathlib import Path

import pytest
from asking import TOKEN, listening

from polyprompt.serve.app import make_app

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    *("--no-sandbox", "--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,900"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.outside("process", "socket"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # selenium's own connections
    pytest.mark.skipif(not CHROMIUM.exists() and "CI" not in os.environ, reason="needs Debian's chromium"),
]


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


def until(found, seconds=15):
    """Waits until something is there and true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError("it did not come")


class Page:
    """The page as a person sees it."""

    def __init__(self, browser, address):
        self.browser = browser
        browser.get("about:blank")
        browser.get(address)

    def __call__(self, selector):
        return self.browser.find_elements("css selector", selector)

    def one(self, selector):
        return until(lambda: self(selector))[0]

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def rows(self):
        return self.run("return [...document.querySelectorAll('.tile')].map((tile) => Number(tile.dataset.row))")

    def message(self):
        return self.one("#message").text

    def seen(self):
        """Whether the thumbnails in sight have been drawn."""
        script = "return [...document.images].filter((i) => i.src && i.checkVisibility()).every((i) => i.naturalWidth)"
        return self.run(script)

    def click(self, selector, number=0):
        self.run("arguments[0].click()", until(lambda: self(selector))[number])

    def slide(self, number, value):
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        self.run(script, self("#aspects input")[number], value)

    def after(self, act):
        """The rows once they have changed."""
        before = self.rows()
        act()
        return until(lambda: (rows := self.rows()) != before and rows)


def severe(browser):
    """Errors of scripts, and what could not be fetched, since it was last asked."""
    return [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.fixture
def page(browser, service):
    with listening(make_app(service)) as address:
        severe(browser)
        made = Page(browser, address)
        until(made.rows)
        yield made
        browser.get("about:blank")
        assert not severe(browser)


def test_type_and_see_pictures_then_drag_a_slider(page, client):
    assert len(page.rows()) == 12
    page.one("#text").send_keys("a red square")
    until(lambda: "best first" in page.message())
    assert until(page.seen)
    best = client.post("/search", json={"collection": "photos", "text": "a red square"}).json()["data"]
    assert page.rows() == [hit["row"] for hit in best]
    order = page.after(lambda: [page.slide(n, value) for n, value in enumerate((0, 2, 0.5))])
    asked = {"collection": "photos", "text": "a red square", "weights": [0, 2, 0.5]}
    until(lambda: page.rows() == [hit["row"] for hit in client.post("/search", json=asked).json()["data"]])
    assert sorted(order) == list(range(12))
    page.click("#even")
    until(lambda: page.rows() == [hit["row"] for hit in best])


def test_a_text_that_is_longer_than_the_model_reads_is_told(page):
    page.one("#text").send_keys("a red square " * 40)
    until(lambda: page.message().endswith("best first. The model reads only the beginning of a text this long."))
    page.one("#text").clear()
    page.one("#text").send_keys("red")
    until(lambda: page.message() == "12 of 12 pictures, best first")
    page.one("#classes").send_keys("red, " + "é" * 190)
    until(lambda: page.message().endswith("a text this long."))


def test_drop_a_picture_and_look_at_a_result(page, photos):
    page.one("#file").send_keys(str(photos / "blue-2.png"))
    until(lambda: len(page.rows()) == 11)  # itself is left out
    names = [tile.text.split()[0] for tile in page(".tile .name")]
    assert set(names[:2]) == {"blue-6.png", "blue-10.png"}
    page.click(".tile .open")
    until(lambda: len(page(".look")) == 3)
    assert page.one("#large-name").text in ("blue-6.png", "blue-10.png")
    page.click(".look", 1)
    until(lambda: page.one("#large-picture").get_attribute("src").startswith("data:image/jpeg"))
    first = page.one("#large-name").text
    page.one("#large").send_keys("\ue014")  # arrow right
    until(lambda: page.one("#large-name").text != first)
    page.click("#similar")
    until(lambda: not page("#large[open]") and len(page.rows()) == 11)


def test_mark_three_and_adapt(page):
    page.one("#text").send_keys("zebra")
    until(lambda: "best first" in page.message())
    first = page.rows()
    assert page("#adapt[disabled]")
    page.click(".mark.right", 10)
    page.click(".mark.right", 11)
    page.click(".mark.wrong", 0)
    assert page.one("#adapt").text == "Adapt to 2 ✓ 1 ✗"
    after = page.after(lambda: page.click("#adapt"))
    assert "adapted to your marks" in page.message()
    assert sum(after.index(row) for row in first[10:]) < 21
    assert len(page(".mark.right[aria-pressed=true]")) == 2
    until(lambda: page.after(lambda: page.click("#forget")) == first)


def test_classes_filters_and_the_csv(page):
    page.one("#text").send_keys("square")
    page.one("#classes").send_keys("red, green, blue")
    until(lambda: page("h3"))
    counts = [int(heading.text.split()[-1]) for heading in page("h3")]
    assert (sum(counts), counts) == (12, sorted(counts, reverse=True))
    page.one("#path").send_keys("WHITE")
    until(lambda: len(page.rows()) == 3)
    page.run("URL.createObjectURL = (blob) => { blob.text().then((text) => { window.csv = text; }); return '#'; }")
    page.click(".tile input", 1)
    page.click("#export")
    lines = until(lambda: page.run("return window.csv")).splitlines()
    assert lines[0].startswith("path,score,class,mark")
    assert len(lines) == 2
    assert lines[1].startswith('"white-')
    page.one("#where").send_keys("yeer > 1")
    until(lambda: "Did you mean 'year'?" in page.message())
    assert ["400" in entry["message"] for entry in severe(page.browser)] == [True]


def test_the_keyboard_does_it_all(page):
    page.one("body").send_keys("/")
    assert page.run("return document.activeElement.id") == "text"
    page.one("#text").send_keys("red\n")
    until(lambda: "best first" in page.message())
    page(".tile .open")[0].send_keys("\ue014")
    assert page.run("return document.activeElement.closest('.tile').dataset.row") == str(page.rows()[1])
    page(".tile .open")[1].send_keys("r")
    assert page(".tile")[1].find_elements("css selector", ".mark.right[aria-pressed=true]")
    page(".tile .open")[1].send_keys("\ue007")  # enter
    until(lambda: page("#large[open]"))
    page.one("#large").send_keys("\ue00c")  # escape
    until(lambda: not page("#large[open]"))


def test_on_a_phone_nothing_is_wider_than_the_screen(page):
    size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.click("#more")
        assert page.one("#aspects").is_displayed()
        assert page.run("return document.documentElement.scrollWidth") == 400
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_of_the_api_reads_well_on_a_phone(browser, service):
    with listening(make_app(service)) as address:
        severe(browser)
        page = Page(browser, f"{address}/docs")
        size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        try:
            assert len(page("section")) == len(make_app(service).openapi()["paths"])
            assert page.run("return document.documentElement.scrollWidth") == 400
            assert page.run("return getComputedStyle(document.querySelector('.api dd')).marginLeft") != "40px"  # styled
        finally:
            browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
            browser.get("about:blank")
        assert not severe(browser)


def test_the_token_is_asked_for_once(browser, service):
    with listening(make_app(service, TOKEN)) as address:
        page = Page(browser, address)
        until(lambda: page("#key[open]"))
        page.one("#token").send_keys("wrong\n")
        until(lambda: "not the token" in page.one("#key-message").text)
        page.run("arguments[0].value = ''", page.one("#token"))
        page.one("#token").send_keys(TOKEN + "\n")
        until(page.rows)
        assert until(page.seen)
        browser.delete_all_cookies()
        page = Page(browser, f"{address}/#token={TOKEN}")
        until(page.rows)
        assert TOKEN not in browser.current_url
        browser.delete_all_cookies()
        browser.get("about:blank")

"""The page as a person meets it, in a real browser."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from framecap.sidecars.sidecar import Model
from tests import command
from tests.viewer.browser import Browser, browsing
from tests.viewer.served import (
    START,
    Page,
    captioned_frame,
    commit,
    failed_frame,
    jpeg,
    key_of,
    page_over,
    put_frame,
    until,
)

CAMERAS = "return [...document.querySelectorAll('.card')].map((card) => card.dataset.camera)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as one:
        yield one


@pytest.fixture
def page(page: Page, browser: Browser) -> Iterator[Page]:
    """The page over a store; a test after which something stands in the console fails."""
    browser.complaints()
    yield page
    complaints = browser.complaints()
    browser.leave()
    assert complaints == []


@pytest.fixture
def busy(frames: Path) -> Path:
    """Two cameras, one of them unsure; a failed frame."""
    for second in range(0, 50, 10):
        captioned_frame(frames, "door", second, f"A {'black' if second % 20 else 'white'} dog.")
    captioned_frame(frames, "yard", 5, "Something.", confidence=0.2, uncertain=True)
    failed_frame(frames, "yard", 1)
    return frames


def wait_for_the_index(page: Page, hits: int = 6) -> None:
    until(lambda: len(page.ask("/api/search", q="").json["hits"]) >= hits)


def test_a_person_sees_frames_come_finds_one_and_sees_where_the_model_looked(
    browser: Browser, clip: Path, tmp_path: Path
) -> None:
    frames = tmp_path / "frames"
    viewing = command.start("view", "--port", "0", cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    try:
        assert viewing.stdout is not None
        browser.open(viewing.stdout.readline().strip())
        browser.see("h2", "Nothing here yet")
        browser.run("window.notReloaded = true")
        done = command.run("run", clip, "--fps", "0.3", "--frames", frames, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        card = browser.see(".card")
        assert "dog" in card.text
        assert "dog" in card.find_element("css selector", "img").get_attribute("alt")
        until(lambda: len(browser.all(".strip li")) == 8)

        browser.press("/")
        browser.press("dogs grass", Keys.ENTER)
        browser.see(".hit mark", "dog").click()

        word = browser.see(".word")
        word.click()
        browser.see(".heat.shown")
        browser.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        assert "the model looked" in browser.text(".hint")
        assert browser.run(COLOURED, browser.see(".heat")) > 100
        assert browser.run("return window.notReloaded")
        assert browser.complaints() == []
        assert browser.text(".frame-title").startswith("clip")
    finally:
        browser.leave()
        viewing.send_signal(signal.SIGTERM)
        out, err = viewing.communicate(timeout=20)
    assert viewing.returncode == 0, err
    assert out == ""


COLOURED = """
const [canvas] = arguments;
const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
return data.filter((value, at) => at % 4 === 3 && value > 20).length;
"""


def test_a_new_frame_takes_the_address_of_its_camera_s_last_one(browser: Browser, page: Page, busy: Path) -> None:
    browser.open(page.address)
    assert browser.see("[data-camera=yard] .caption").text == "Something."
    assert "unsure, 20 %" in browser.see("[data-camera=yard]").text
    captioned_frame(busy, "yard", 60, "A cat comes.")
    browser.see("[data-camera=yard] .caption", "A cat comes.")
    captioned_frame(busy, "attic", 60, "A bat.")
    browser.see("[data-camera=attic] .caption", "A bat.")
    assert browser.run(CAMERAS) == ["attic", "door", "yard"]
    browser.see("#announcer", "")
    until(lambda: "A bat." in browser.run("return document.getElementById('announcer').textContent"))


def test_a_frame_of_the_future_gives_its_address_to_the_next_one(browser: Browser, page: Page, busy: Path) -> None:
    browser.open(page.address)
    browser.see("[data-camera=yard] .caption", "Something.")
    captioned_frame(busy, "yard", 86_400 * 10_000, "A wrong clock.")
    browser.see("[data-camera=yard] .caption", "A wrong clock.")
    captioned_frame(busy, "yard", (datetime.now(UTC) - START).total_seconds(), "A cat comes.")
    browser.see("[data-camera=yard] .caption", "A cat comes.")


def test_new_captions_are_announced_now_and_then(browser: Browser, page: Page, busy: Path) -> None:
    browser.open(page.address)
    browser.see("#line-text", "live")
    browser.run(PAUSES)
    for second, caption in ((60, "A cat comes."), (70, "A bat.")):
        captioned_frame(busy, "yard", second, caption)
        browser.see("[data-camera=yard] .caption", caption)
        until(lambda: "A cat comes." in browser.run("return document.getElementById('announcer').textContent"))
    until(lambda: browser.run("return window.pauses.some((pause) => pause > 9000 && pause <= 12000)"))


PAUSES = """
const real = setTimeout;
window.pauses = [];
window.setTimeout = (call, pause) => { window.pauses.push(pause); return real(call, pause); };
"""


def test_an_image_that_does_not_come_is_still_reported(browser: Browser, page: Page, busy: Path) -> None:
    browser.open(page.address)
    browser.see(".strip .caption", "A white dog.")
    browser.see("[data-camera=yard]")
    browser.command("Accessibility.enable")
    before = images_reported(browser)
    assert "A white dog." in before
    browser.run("document.querySelector('[data-camera=door] .photo').src = '/nothing'")
    browser.see("[data-camera=door] .unshown")
    assert images_reported(browser) == before
    assert all("404" in line for line in browser.complaints())


def images_reported(browser: Browser) -> list[str]:
    """What a screen reader can say of the images."""
    nodes = browser.command("Accessibility.getFullAXTree")["nodes"]
    return sorted(node["name"]["value"] for node in nodes if not node["ignored"] and node["role"]["value"] == "image")


@pytest.mark.parametrize("address", ["/timeline?day=2026-11-22", "/search?q=dog"])
def test_a_late_answer_does_not_take_a_newer_one_s_address(browser: Browser, page: Page, busy: Path, address: str) -> None:
    captioned_frame(busy, "yard", 20, "A dog in the yard.")
    wait_for_the_index(page, 7)
    browser.open(page.address + address)
    browser.see(".hit .caption", "A dog in the yard.")
    browser.run(LATE)
    camera = browser.see("input[aria-label=Camera]")
    camera.send_keys("yard", Keys.ENTER)
    until(lambda: browser.run("return window.held"))
    camera.clear()
    camera.send_keys("door", Keys.ENTER)
    until(lambda: "A dog in the yard." not in browser.text(".hits"))
    browser.driver.execute_async_script("window.release(); setTimeout(arguments[0], 300)")
    assert "A black dog." in browser.text(".hits")
    assert browser.all(".problem") == []


LATE = """
const real = fetch;
window.fetch = async (address, ...options) => {
  const answer = await real(address, ...options);
  if (String(address).includes('camera=yard')) {
    await new Promise((release) => Object.assign(window, { held: true, release }));
  }
  return answer;
};
"""


def test_a_paused_page_stays_as_it_is_and_catches_up(browser: Browser, page: Page, busy: Path) -> None:
    browser.open(page.address)
    browser.see(".last button", "Pause").click()
    captioned_frame(busy, "yard", 60, "A cat comes.")
    resume = browser.see(".last button", "Resume (1 frame)")
    assert browser.text("[data-camera=yard] .caption") == "Something."
    resume.click()
    browser.see("[data-camera=yard] .caption", "A cat comes.")


def test_a_thousand_cameras(browser: Browser, page: Page, frames: Path) -> None:
    for number in range(1000):
        commit(frames, key_of(f"camera-{number:04d}", 0), f"A dog, {number}.")
    until(lambda: page.ask("/api/cameras").json["total"] == 1000, 60)
    browser.open(page.address)
    browser.see("#cameras-title", "1,000 cameras")
    assert 60 <= len(browser.all(".card")) < 300
    browser.run("document.querySelector('.more').scrollIntoView()")
    until(lambda: len(browser.all(".card")) >= 120)
    browser.see("input[type=search][aria-label^=Filter]").send_keys("0999")
    until(lambda: browser.run(CAMERAS) == ["camera-0999"])


def test_a_day_of_a_camera(browser: Browser, page: Page, busy: Path) -> None:
    wait_for_the_index(page)
    browser.open(f"{page.address}/timeline?camera=door&at=1795341600")
    browser.see("h1", "Sunday, November 22, 2026")
    browser.see(".hit .caption", "A white dog.")
    assert len(browser.all(".hit")) == 5
    assert len(browser.all(".block")) == 5
    browser.see("button[aria-label='The day after']").click()
    browser.see("h2", "No captions on this day")
    browser.see("button", "The last ones before").click()
    browser.see(".hit .caption", "A white dog.")
    assert "day=2026-11-22" in browser.driver.current_url
    captioned_frame(busy, "door", 55, "A cow.")
    browser.see(".hit .caption", "A cow.")


def test_what_is_not_found_is_reported(browser: Browser, page: Page, busy: Path) -> None:
    wait_for_the_index(page)
    browser.open(f"{page.address}/search?q=zebra")
    browser.see("h2", "Nothing found")
    browser.open(f"{page.address}/search?q=dog&camera=yard")
    browser.see("h2", "Nothing found")
    browser.open(f"{page.address}/search?q=%22black+dog%22&from=2026-11-22&to=2026-11-22")
    browser.see(".found", "1 found")
    assert browser.text(".hit-time").endswith("20 s, 2 frames")


def test_failed_frames_are_retried_from_the_page(browser: Browser, page: Page, busy: Path) -> None:
    browser.open(f"{page.address}/health")
    browser.see(".failed .reason", "undecodable not a JPEG, PNG or WebP image")
    browser.see("#count", "1 failed")
    put_frame(busy, key_of("yard", 1), jpeg())
    browser.see("button", "Retry all failed frames").click()
    browser.see(".progress", "1 frame done again, 1 of them captioned.")
    browser.see("h2", "No frame has failed")
    assert page.ask("/api/frame", key=key_of("yard", 1)).json["shown"]["status"] == "captioned"


def test_by_keyboard_alone(browser: Browser, page: Page, busy: Path) -> None:
    browser.open(page.address)
    browser.see(".card")
    browser.press(Keys.TAB)
    assert browser.focused().text == "Skip to the content"
    browser.press(Keys.ENTER, Keys.TAB)
    assert browser.focused().get_attribute("class") == "card-link"
    browser.press(Keys.ENTER)
    browser.see(".frame-title", "door")
    earlier = browser.driver.current_url
    browser.press(Keys.ARROW_LEFT)
    until(lambda: browser.driver.current_url != earlier)
    browser.see(".said .caption", "A black dog.")
    browser.press(Keys.ARROW_RIGHT)
    until(lambda: browser.driver.current_url == earlier)
    browser.driver.back()
    browser.see(".said .caption", "A black dog.")


def test_where_the_model_looked_cannot_be_shown_and_the_page_says_why(browser: Browser, page: Page, busy: Path) -> None:
    browser.open(f"{page.address}/frame?key={key_of('door', 0)}")
    browser.see(".hint", "the runtime null tells nothing of its attention")
    captioned_frame(busy, "door", 70, "A dog.", model=Model(name="other", bundle="1" * 64, runtime="null"))
    browser.open(f"{page.address}/frame?key={key_of('door', 70)}")
    browser.see(".hint", "another model wrote this caption: other (111111111111)")
    browser.open(f"{page.address}/frame?key={key_of('yard', 1)}")
    browser.see(".reason", "undecodable after 1 try: not a JPEG, PNG or WebP image")


def test_an_address_that_leads_nowhere(browser: Browser, page: Page) -> None:
    browser.open(f"{page.address}/frame?key=door/gone.jpg")
    browser.see(".problem", "this frame has no sidecar")
    assert all("404" in line for line in browser.complaints())


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)], ids=["desk, light", "phone, dark"])
def test_no_one_is_kept_out(browser: Browser, page: Page, busy: Path, width: int, dark: bool) -> None:
    wait_for_the_index(page)
    frame = f"/frame?key={key_of('door', 0)}"
    for view, landmark in {
        "/": ".card",
        "/timeline?camera=door&day=2026-11-22": ".hit",
        "/search?q=dog": ".hit",
        "/health": ".failed .reason",
        frame: ".hint",
    }.items():
        browser.open(page.address + view, width=width, dark=dark)
        browser.see(landmark)
        browser.settle()
        assert browser.barriers() == [], view
        assert not browser.overflows(), view


def test_a_page_whose_server_goes_away_says_so(browser: Browser, busy: Path, tmp_path: Path) -> None:
    with page_over(busy, tmp_path / "index") as page:
        browser.open(page.address)
        browser.see("#line-text", "live")
    browser.see("#line-text", "reconnecting")
    assert all("ERR_" in line for line in browser.complaints())
    browser.leave()


def test_behind_a_token(browser: Browser, busy: Path, tmp_path: Path) -> None:
    with page_over(busy, tmp_path / "index", token="a-token-that-nobody-guesses") as page:
        browser.open(page.address)
        assert browser.barriers() == []
        browser.see("input").send_keys("wrong", Keys.ENTER)
        browser.see(".problem", "This is not the token.")
        assert [line for line in browser.complaints() if "401" not in line] == []
        browser.see("input").send_keys("a-token-that-nobody-guesses", Keys.ENTER)
        browser.see(".card")
        browser.see("#line-text", "live")
        assert browser.complaints() == []
        browser.leave()

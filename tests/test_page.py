"""The page in a real browser: one walk a task, nothing said on the console. Needs Debian's chromium."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving import Client, loaded, serving

BROWSER = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium: apt-get install chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream"]
FLAGS += ["--use-fake-ui-for-media-stream"]
EVIL = "<script>window.evil=1</script><img src=x onerror='window.evil=1'>"


@pytest.fixture(scope="module")
def client(folders: dict[str, Path]) -> Iterator[Client]:
    with serving(loaded(folders)) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        found = player.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, client: Client) -> Iterator[Any]:
    """The page of the server; in the end nothing was said on the console, and nobody else was asked."""
    context = browser.new_context(locale="en-US", viewport={"width": 1100, "height": 900})
    found, said = context.new_page(), list[str]()
    # that an answer was 422 is said by the browser itself, where a test asks for something that cannot be
    found.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") and " 422 " not in m.text else None)
    found.on("pageerror", lambda error: said.append(str(error)))
    found.on(
        "request", lambda asked: said.append(asked.url) if not asked.url.startswith((home, "data:", "blob:")) else None
    )
    home = f"http://127.0.0.1:{client.port}/"
    found.goto(home)
    found.wait_for_selector("nav a")
    yield found
    assert not said
    assert found.evaluate("window.evil") is None
    context.close()


def opened(page: Any, name: str) -> None:
    page.click(f"nav a:text-is('{name}')")
    page.wait_for_selector(f"h1:text-is('{name}')")


def titles(page: Any) -> list[str]:
    return page.locator("main h2").all_inner_texts()


def test_the_first_view_is_small(page: Any) -> None:
    sizes = page.evaluate(
        "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
        ".map((entry) => [entry.name, entry.decodedBodySize])"
    )
    assert sum(size for _, size in sizes) < 150_000
    assert page.locator(".cards li").count() == 7


def test_a_translation_with_its_pictures_in_two_actions_and_a_link_to_it(page: Any, client: Client) -> None:
    asked = {"inputs": "a b c d", "options": {"beam": 2}}
    wanted = client.post("/v1/models/turned/predict", asked).json["outputs"][0]["translation"]
    opened(page, "turned")
    page.fill("textarea", "a b c d")
    page.wait_for_selector(".answer:not(:empty)")
    page.wait_for_selector("main svg[role=img]")
    assert "The beam" in titles(page)
    page.locator("input[type=range]").first.fill("2")
    page.wait_for_function("location.hash.includes('beam=2')")
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector(f".answer div:text-is('{wanted}')")
    assert page.input_value("textarea") == "a b c d"
    assert page.locator("input[type=range]").first.input_value() == "2"
    with page.expect_response("**/predict") as sent:
        page.press("textarea", "End")
        page.keyboard.type(" a")
    assert sent.value.request.post_data_json == {"inputs": "a b c d a", "options": {"beam": 2, "n_best": 1}}


def test_a_long_text_is_translated_without_its_pictures(page: Any) -> None:
    opened(page, "turned")
    page.fill("textarea", "a b c d " * 100)
    page.wait_for_selector("p.note:has-text('are explained: take a part of it')")
    assert len(page.inner_text(".answer")) > 20
    page.goto(page.url.split("#")[0] + "#/100%25%")
    page.wait_for_selector(".problem:text-is('No such model.')")


def test_words_are_coloured_by_what_they_add(page: Any) -> None:
    opened(page, "sentiment")
    page.fill("textarea", f"breakpoint debugging {EVIL}")
    page.wait_for_selector(".words span")
    assert page.inner_text(".answer")
    assert "rgba" in page.locator(".words span").first.get_attribute("style")
    assert any(title.startswith("The probability of each label") for title in titles(page))


def test_labels_of_words(page: Any) -> None:
    opened(page, "tags")
    page.fill("textarea", f"A met B in London . {EVIL}")
    page.wait_for_selector(".words small:has-text('B-PER')")


def test_a_text_is_written_and_what_was_not_chosen_is_shown(page: Any) -> None:
    opened(page, "books")
    page.fill("textarea", "It was ")
    page.click("button.first")
    page.wait_for_selector(".written[aria-busy=false] button:nth-of-type(150)")
    page.focus(".written button")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement === document.querySelectorAll('.written button')[1]")
    assert page.inner_text(".written").startswith("It was")
    page.hover(".written button:nth-of-type(9)")
    assert page.locator(".bar").count() == 5
    page.click("button:text-is('How the model reads this')")
    page.wait_for_selector("main .tokens button")


def test_neighbours_analogies_and_the_map(page: Any) -> None:
    opened(page, "vec")
    page.fill("input[name=word]", "the")
    page.press("input[name=word]", "Enter")
    page.wait_for_selector(".bar")
    page.fill("input[name=word]", "nonsenseword")
    page.click("button:text-is('Neighbours')")
    page.wait_for_selector(".problem:has-text('nonsenseword')")
    for name, word in (("a", "the"), ("b", "a"), ("c", "to")):
        page.fill(f"input[name={name}]", word)
    page.click("button:text-is('Look up')")
    page.wait_for_function("document.querySelectorAll('.problem')[0].textContent === ''")
    page.click("button:text-is('Draw a map of the words')")
    page.wait_for_selector("canvas")
    page.fill("input[type=search]", "the")
    assert page.locator(".note[aria-live]").inner_text().startswith("the: ")
    for key in ("+", "+", "ArrowRight", "ArrowUp", "ArrowRight", "Enter"):
        page.press("canvas", key)
    word, _, near = page.locator(".note[aria-live]").inner_text().partition(": ")
    assert word not in ("", "the")
    assert near


@pytest.mark.parametrize("way", ["chosen", "dropped", "pasted", "camera"])
def test_an_image_is_described(page: Any, folders: dict[str, Path], way: str) -> None:
    opened(page, "captions")
    photo = folders["captions"].parent / "photo.png"
    if way == "chosen":
        page.set_input_files("input[type=file]", photo)
    elif way == "camera":
        page.click("button:text-is('Take a photo')")
        page.click("button:text-is('Now')")
    else:
        event = {"dropped": "new DragEvent('drop', {dataTransfer: data, bubbles: true})"}
        event["pasted"] = "new ClipboardEvent('paste', {clipboardData: data, bubbles: true})"
        page.evaluate(
            "async (bytes) => {const data = new DataTransfer();"
            "data.items.add(new File([new Uint8Array(bytes)], 'p.png', {type: 'image/png'}));"
            f"document.querySelector('.drop').dispatchEvent({event[way]})}}",
            list(photo.read_bytes()),
        )
    page.wait_for_selector("main h2:text-is('Caption')")
    assert page.locator("img.preview").is_visible()
    assert "The best that were found" in titles(page)


def test_a_recording_is_written_down_and_so_is_the_microphone(page: Any, folders: dict[str, Path]) -> None:
    opened(page, "speech")
    page.set_input_files("input[type=file]", folders["speech"].parent / "talk.wav")
    page.wait_for_selector("main h2:text-is('What is heard')")
    assert any("spikes" in title for title in titles(page))
    page.set_input_files("input[type=file]", {"name": "<b>x</b>.wav", "mimeType": "audio/wav", "buffer": b"no sound"})
    page.wait_for_selector(".problem:has-text('<b>x</b>.wav: is no recording')")
    with page.expect_response("**/explain/file") as first:  # while it is still listening
        page.click("button:text-is('Speak')")
    assert first.value.status == 200
    with page.expect_response("**/explain/file") as last:
        page.click("button:text-is('Stop')")
    assert last.value.json()["seconds"] >= first.value.json()["seconds"] > 0.3
    assert page.inner_text("button.first") == "Speak"


def test_both_languages_by_keyboard(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.focus("#language")
    page.keyboard.press("Enter")
    page.wait_for_selector("html[lang=zh]")
    assert "翻译" in page.inner_text("main")
    opened(page, "turned")
    page.fill("textarea", "a b")
    page.wait_for_selector("h2:text-is('译文')")
    for name, text in (("sentiment", "not a string"), ("tags", "A met B"), ("books", "It was")):
        opened(page, name)
        page.fill("textarea", text)
        if name == "books":
            page.click("button:text-is('模型怎样读这段文字')")
        page.wait_for_selector("main h2")
        said = [*titles(page), *page.locator("main h2 + p.note").all_inner_texts()]
        assert [text for text in said if not re.search("[\u4e00-\u9fff]", text)] == []
    opened(page, "turned")
    page.fill("textarea", "a b")
    page.wait_for_selector("h2:text-is('译文')")
    assert all(re.search("[\u4e00-\u9fff]", text) for text in titles(page))
    page.click("#language")
    page.wait_for_selector("h2:text-is('Translation')")


def test_a_telephone_in_the_dark(browser: Any, client: Client) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 700}, color_scheme="dark", locale="en-US")
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{client.port}/#/turned?input=a+b+c")
    page.wait_for_selector("h2:text-is('The beam')")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 25, 34)"
    assert page.locator("label:has(textarea)").count() == 1
    every = "[...document.querySelectorAll('input, textarea, select, button')]"
    unnamed = f"{every}.filter((e) => !e.labels?.length && !e.ariaLabel && !e.textContent).length"
    assert page.evaluate(unnamed) == 0
    context.close()


def test_a_token_is_asked_for(browser: Any, translator: Path) -> None:
    with serving(loaded({"turned": translator}), token="a-secret-of-16-letters") as guarded:
        page = browser.new_page()
        home = f"http://127.0.0.1:{guarded.port}/"
        page.goto(home)
        page.fill("input[type=password]", "a-secret-of-16-letters")
        page.keyboard.press("Enter")
        page.wait_for_selector("nav a:text-is('turned')")
        page.close()
        page = browser.new_page()
        page.goto(f"{home}#token=a-secret-of-16-letters")
        page.wait_for_selector("nav a:text-is('turned')")
        assert "token" not in page.url
        page.close()


def test_the_api_explains_itself_in_a_page(page: Any, client: Client) -> None:
    page.goto(f"http://127.0.0.1:{client.port}/docs")
    page.wait_for_selector("h2:text-is('POST /v1/models/turned/predict')")
    assert page.locator("th:text-is('options.beam')").count() >= 1

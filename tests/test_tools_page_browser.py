"""The page in a browser: a picture is given, a text typed, and what the network says appears, on a phone as well.

Needs playwright (pip install playwright) and an installed Chromium; elsewhere it is skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_pictures
from tiny_page import served

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
SCREENS = [(width, scheme) for width in (1200, 390) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module", params=["itm", "vgd", "vqa"])
def page(request: Any, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any, list[Path]]]:
    """The task, its page, and three pictures."""
    folder = tmp_path_factory.mktemp(request.param)
    pictures = sorted(tiny_pictures.folder(folder / "pictures", 3).iterdir())
    with served(request.param, folder) as (_, server):
        page, said = browser.new_page(), []
        address = f"http://127.0.0.1:{server.server_port}/"
        refusal = "status of 400"  # which the browser mentions, too
        page.on("console", lambda message: None if refusal in message.text else said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        own = (address, f"blob:{address}")
        page.on("request", lambda asked: None if asked.url.startswith(own) else said.append(asked.url))
        page.goto(address)
        yield request.param, page, pictures
        page.close()
        assert said == []


def ask(page: Any, pictures: list[Path], text: str, name: str = "Ask") -> dict[str, Any]:
    """Give pictures, type a text, press the button. Returns what the server told."""
    page.get_by_label("Picture").first.set_input_files(pictures)
    page.locator("#texts").fill(text)
    with page.expect_response("**/predict") as told:
        page.get_by_role("button", name=name, exact=True).click()
    page.locator("#said .head").wait_for()
    return told.value.json()


def check_answer(task: str, page: Any, told: dict[str, Any]) -> None:
    said, (one, *_) = " ".join(page.inner_text("#said").split()), told["predictions"]
    if task == "vqa":
        rows = page.locator("#details tbody tr").all_inner_texts()
        for row, answer in zip(rows, one["answers"], strict=True):
            assert row.split() == [answer["answer"], f"{answer['probability']:.2f}"]
        assert said.startswith(f"{one['answers'][0]['answer']} probability {one['answers'][0]['probability']:.2f}")
    else:
        left, top, right, bottom = (int(x + 0.5) for x in one["box"])
        assert said.startswith(
            f"The orange box probability {one['probability']:.2f}, from {left}, {top} to {right}, {bottom}"
        )
        drawn = page.locator("#regions .found")
        x, y, width, height = (float(drawn.get_attribute(key)) for key in ("x", "y", "width", "height"))
        assert [x, y, x + width, y + height] == pytest.approx(one["box"])


def signed(score: float) -> str:
    return f"{score:+.2f}".replace("-", "−")


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_an_answer_appears(page: tuple[str, Any, list[Path]], width: int, scheme: str) -> None:
    task, page, pictures = page
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    if task == "itm":
        told = ask(page, pictures[:1], "what is red\n\nis a zebra blue, or red?", "Match")
        texts = ["what is red", "is a zebra blue, or red?"]
        shown = page.locator("#details tbody tr").all_inner_texts()
        order = [told["predictions"][place] for place in told["rankings"][0]]
        assert [row.split("\t")[1:] for row in shown] == [[texts[one["text"]], signed(one["score"])] for one in order]
    else:
        told = ask(page, pictures[:1], "is a zebra red?")
        check_answer(task, page, told)
    assert "the network was not trained on zebra." in page.inner_text("#said")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    light = page.evaluate("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(")
    assert (int(light.split(",")[0]) > 128) == (scheme == "light")


def test_regions_are_told_by_pointer_and_keyboard(page: tuple[str, Any, list[Path]]) -> None:
    task, page, pictures = page
    page.set_viewport_size({"width": 1200, "height": 900})
    told = ask(page, pictures[:1], "what is red", "Match" if task == "itm" else "Ask")
    (one,) = told["predictions"]
    by_weight = sorted(one["regions"], key=lambda region: -region["weight"])
    slider = page.get_by_label("Regions by weight")
    for rank, press in ((0, ""), (1, "ArrowRight"), (2, "End"), (0, "Home")):
        slider.press(press) if press else None
        number = f"{by_weight[rank]['probability']:.3f}"
        assert page.inner_text("#weight").startswith(f"region {rank + 1} of 3: ")
        assert page.inner_text("#weight").endswith(number) and page.inner_text("#tag") == number
        assert slider.get_attribute("aria-valuetext") == page.inner_text("#weight")
    frame, (width, height) = page.locator("#image").bounding_box(), one["size"]
    for rank, region in enumerate(by_weight):
        left, top, right, bottom = region["box"]
        x, y = (left + right) / 2 / width * frame["width"], (top + bottom) / 2 / height * frame["height"]
        page.mouse.move(frame["x"] + x, frame["y"] + y)
        assert page.inner_text("#weight").startswith(f"region {rank + 1} of 3: ")


def test_pictures_rank_for_a_text(page: tuple[str, Any, list[Path]]) -> None:
    task, page, pictures = page
    if task != "itm":
        assert page.locator("#pictures[multiple]").count() == 0
        return
    told = ask(page, pictures, "what is red", "Match")
    order = [told["predictions"][place] for place in told["rankings"][0]]
    rows = page.locator("#details tbody tr").all_inner_texts()
    assert [row.split()[1:] for row in rows] == [[pictures[one["picture"]].name, signed(one["score"])] for one in order]
    page.get_by_role("button", name=pictures[order[2]["picture"]].name).press("Enter")
    assert page.locator("#image").get_attribute("alt") == pictures[order[2]["picture"]].name
    assert page.locator("tr.shown").inner_text() == rows[2]


def test_a_picture_is_dropped(page: tuple[str, Any, list[Path]]) -> None:
    _, page, pictures = page
    page.reload()
    page.evaluate(
        """bytes => {
            const moved = new DataTransfer();
            moved.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
            const drop = { dataTransfer: moved, bubbles: true, cancelable: true };
            document.body.dispatchEvent(new DragEvent("drop", drop));
        }""",
        list(pictures[0].read_bytes()),
    )
    assert page.evaluate("document.getElementById('pictures').files[0].name") == "dropped.png"
    assert page.locator("#image").get_attribute("alt") == "dropped.png" and not page.locator("#drop").is_visible()


def test_what_is_refused_is_said_and_an_old_answer_is_gone(page: tuple[str, Any, list[Path]], tmp_path: Path) -> None:
    task, page, pictures = page
    ask(page, pictures[:1], "what is red", "Match" if task == "itm" else "Ask")
    (tmp_path / "a.tif").write_bytes(b"II*\0 nothing")
    page.get_by_label("Picture").first.set_input_files(tmp_path / "a.tif")
    assert page.inner_text("#said") == "" and page.inner_text("#details") == ""
    assert not page.locator("#weights").is_visible()
    page.evaluate("document.getElementById('ask').requestSubmit()")
    page.locator("#said .warning").wait_for()
    assert "a.tif" in page.inner_text("#said")

"""The Generate page in a real browser: the wish, what is drawn of it, and what becomes of it after."""

from __future__ import annotations

import base64
import io
import json
import random
import re
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect

from backend.inference.grid import Plan
from backend.inference.request import parse
from tests.browser.fake_gateway import FakeGateway, progress
from tests.browser.stage import PHONE, field, until

PROMPTS = "# mine\na yellow star --w 64 --h 64 --s 20 --l 3.0 --d 5 --n dull, grey\na cat"


def picture(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
    return buffer.getvalue()


def photograph() -> bytes:
    """Larger than a queue takes, in sides and in bytes."""
    buffer = io.BytesIO()
    size = (2400, 1200)
    Image.frombytes("RGB", size, random.Random(1).randbytes(3 * size[0] * size[1])).save(
        buffer, "PNG", compress_level=0
    )
    return buffer.getvalue()


@pytest.fixture
def trained(gateway: FakeGateway) -> FakeGateway:
    """A model, and a finished training with two epochs."""
    gateway.models.append({"name": "tiny", "path": "models/tiny", "pipeline": "x", "size": 1})
    gateway.loras.append({"name": "moon", "path": "loras/moon-tr.safetensors", "task": "", "base_model": ""})
    settings = {"model": "models/tiny", "settings": {"sample_prompts": PROMPTS}}
    times = {"started_at": 1.0, "finished_at": 2.0}
    output = "/data/loras/moon-tr.safetensors"
    gateway.add("tr", name="moon", state="succeeded", output=output, details=settings, **times)
    gateway.file("tr", "output/moon-000001.safetensors", b"1", kind="checkpoint", epoch=1, step=10)
    gateway.file("tr", "output/moon.safetensors", b"2", kind="lora", step=20)
    return gateway


def generate(page: Page) -> None:
    page.get_by_role("button", name="Generate", exact=True).click()


def submitted(gateway: FakeGateway) -> list[dict[str, Any]]:
    """What was queued: one drawing after another, each by rows and columns, in whatever order its queries came."""
    places = {sent["id"]: sent["details"]["drawing"] for sent in gateway.submitted}
    groups = list(dict.fromkeys(place["group"] for place in places.values()))

    def place(sent: dict[str, Any]) -> tuple[int, int, int]:
        at = places[sent["id"]]
        return groups.index(at["group"]), at["row"], at["column"]

    return sorted(gateway.submitted, key=place)


def queries(gateway: FakeGateway) -> list[dict[str, Any]]:
    return [json.loads(base64.b64decode(sent["data"])) for sent in submitted(gateway)]


def test_nothing_drawn_and_no_prompt_are_said_plainly(page: Page, gateway: FakeGateway) -> None:
    page.goto("/generate")
    expect(page.locator(".shown")).to_contain_text("Nothing drawn yet")
    generate(page)
    expect(page.locator(".problem")).to_have_text("Say what is to be drawn.")
    page.fill("#w-prompt", "a cat")
    page.fill("#w-width", "63")
    generate(page)
    expect(page.locator(".problem")).to_contain_text("Width")
    assert not gateway.submitted


def test_a_finished_training_leads_to_a_picture_with_and_without_its_lora(
    page: Page, trained: FakeGateway
) -> None:
    page.goto("/jobs?task=tr")
    page.click("text=Try it")
    expect(page.locator(".lora select")).to_have_value("loras/moon-tr.safetensors")
    expect(page.locator("#w-prompt")).to_have_value("a yellow star")
    expect(page.locator("#w-negative")).to_have_value("dull, grey")
    generate(page)
    expect(page.locator(".drawing .cell")).to_have_count(2)
    without, own = queries(trained)
    assert without["loras"] == [] and own["loras"] == [{"name": "loras/moon-tr.safetensors", "weight": 1}]
    assert without["seed"] == own["seed"] == 5
    assert own["width"] == 64 and own["output"] == "file"
    first, second = (sent["id"] for sent in submitted(trained))
    # previews come while it is drawn, then the pictures
    trained.update(first, state="running", position=None, progress=progress(5, 20))
    trained.file(first, "p5.png", picture("grey"), kind="sample", step=5)
    expect(page.locator('img[alt="Preview"]')).to_have_js_property("naturalWidth", 64)
    trained.drawn(first, picture("teal"))
    trained.drawn(second, picture("tomato"))
    expect(page.locator(".picture img")).to_have_count(2)
    expect(page.locator(".picture img").first).to_have_js_property("naturalWidth", 64)
    assert "signature" not in page.content()
    # and are there after a reload
    page.reload()
    expect(page.locator(".picture img")).to_have_count(2)
    expect(page.locator("#w-prompt")).to_have_value("a yellow star")


def test_a_picture_is_drawn_from_another_one(page: Page, trained: FakeGateway) -> None:
    page.goto("/generate")
    expect(page.locator("#w-model option")).to_have_count(1)
    page.fill("#w-prompt", "a cat")
    page.click("text=Start from a picture")
    start = {"name": "start.png", "mimeType": "image/png", "buffer": picture("#123456")}
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a picture…").click()
    chooser.value.set_files(start)  # type: ignore[arg-type]
    expect(page.get_by_alt_text("The picture to start from")).to_be_visible()
    page.fill("#w-strength", "0.4")
    generate(page)
    until(lambda: bool(trained.submitted))
    (query,) = queries(trained)
    assert query["strength"] == 0.4
    sent = Image.open(io.BytesIO(base64.b64decode(query["image"])))
    assert (sent.size, sent.getpixel((0, 0))) == ((64, 64), (0x12, 0x34, 0x56))
    # One that is more than a queue takes is made smaller.
    photo = {"name": "photo.png", "mimeType": "image/png", "buffer": photograph()}
    assert len(photo["buffer"]) > 6 << 20
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a picture…").click()
    chooser.value.set_files(photo)  # type: ignore[arg-type]
    expect(page.get_by_alt_text("The picture to start from")).to_have_attribute(
        "src", re.compile("^data:image/jpeg")
    )
    generate(page)
    until(lambda: len(trained.submitted) == 2)
    sent = Image.open(io.BytesIO(base64.b64decode(queries(trained)[1]["image"])))
    assert sent.size == (2048, 1024)
    # Without it, the next one starts from noise again.
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_alt_text("The picture to start from")).to_be_hidden()
    generate(page)
    until(lambda: len(trained.submitted) == 3)
    assert queries(trained)[2].get("image") is None


def test_a_grid_arrives_cell_by_cell_and_a_second_tab_sees_it(
    page: Page, context: BrowserContext, trained: FakeGateway
) -> None:
    other = context.new_page()
    other.goto("/generate")
    expect(other.locator(".shown")).to_contain_text("Nothing drawn yet")
    page.goto("/generate?lora=tr&grid=1")
    expect(page.locator("#w-training")).to_have_value("tr")
    page.fill("#w-weights", "0.5, 1")
    generate(page)
    expect(page.locator(".grid tbody th")).to_have_text(["epoch 1", "finished"])
    sent = queries(trained)
    assert [query["loras"][-1]["weight"] for query in sent] == [0.5, 1, 0.5, 1]
    assert sent[0]["loras"][-1]["name"] == "jobs/tr/output/moon-000001.safetensors"
    for task in submitted(trained)[:3]:
        trained.drawn(task["id"], picture("teal"))
    expect(page.locator(".picture img")).to_have_count(3)
    expect(page.locator(".drawing .line")).to_have_text("3 of 4 done")
    expect(other.locator(".picture img")).to_have_count(3)
    other.close()
    # one cell is worth going on from: its checkpoint and weight
    page.locator(".picture").nth(1).click()
    page.locator("dialog").get_by_role("button", name="Start from this picture").click()
    expect(page.locator("dialog")).to_have_count(0)
    expect(page.locator(".lora select")).to_have_value("jobs/tr/output/moon-000001.safetensors")
    expect(page.locator(".lora input")).to_have_value("1")
    expect(page.locator("#w-seed")).to_have_value("5")
    expect(page.get_by_alt_text("The picture to start from")).to_be_visible()
    page.get_by_role("button", name="Remove", exact=True).click()
    # and the whole grid can be had again
    page.locator(".drawing").get_by_role("button", name="Use these settings").click()
    expect(page.locator("#w-training")).to_have_value("tr")
    expect(page.locator("#w-weights")).to_have_value("0.5, 1")
    last = submitted(trained)[3]["id"]
    trained.update(last, state="failed", reason="the LoRA was made for SDXL", finished_at=3.0)
    expect(page.locator(".drawing .line")).to_contain_text("1 of 4 not drawn: the LoRA was made for SDXL")


def test_what_is_not_drawn_says_why_at_once_and_leaves_no_hole(page: Page, trained: FakeGateway) -> None:
    page.goto("/generate?lora=tr&grid=1")
    expect(page.locator("#w-training")).to_have_value("tr")
    page.fill("#w-weights", "1")
    generate(page)
    until(lambda: len(trained.submitted) == 2)
    first, second = (sent["id"] for sent in submitted(trained))
    trained.update(first, state="failed", reason="the LoRA was made for SDXL", finished_at=3.0)
    line = page.locator(".drawing .line")
    expect(line).to_have_text("1 of 2 done · 1 of 2 not drawn: the LoRA was made for SDXL")
    page.get_by_role("button", name="failed").click()
    expect(page.get_by_text("the LoRA was made for SDXL", exact=True)).to_be_visible()
    trained.update(second, state="cancelled", reason="stopped on request", finished_at=4.0)
    expect(line).to_have_text("2 of 2 not drawn: the LoRA was made for SDXL")
    expect(page.locator(".grid")).to_be_hidden()


def test_pictures_of_a_long_history_have_their_places_and_are_fetched_when_seen(
    page: Page, trained: FakeGateway
) -> None:
    settings = {"prompt": "a cat", "loras": []}
    for n in range(30):
        trained.add(f"old{n}", kind="query", state="running", details={"generation": settings})
        trained.drawn(f"old{n}", picture("teal"))
    page.goto("/generate")
    expect(page.locator(".picture img")).to_have_count(30)
    expect(page.locator(".picture img").first).to_have_js_property("naturalWidth", 64)
    assert page.locator(".picture img").last.evaluate("image => [image.height, image.naturalWidth]") == [
        220,
        0,
    ]


def test_a_grid_of_a_notebook_is_one_drawing(page: Page, trained: FakeGateway) -> None:
    plan = Plan.of(
        "kohya_job", "a cat", ["jobs/tr/moon-000001.safetensors", "jobs/tr/moon.safetensors"], [1], {}
    )
    for n, cell in enumerate(plan.cells):
        settings = parse({"prompt": "a cat", **plan.keys_of(cell)}).parameters()
        details = {"generation": settings, "grid": plan.place_of(cell)}
        trained.add(f"cell{n}", kind="query", state="running", started_at=1.0, details=details)
        trained.drawn(f"cell{n}", picture("teal"))
    page.goto("/generate")
    expect(page.locator(".drawing")).to_have_count(1)
    expect(page.locator(".grid tbody th")).to_have_text(["moon-000001", "moon"])
    expect(page.locator(".drawing .facts")).to_contain_text("moon · 30 steps")
    expect(page.locator(".picture img")).to_have_count(2)


def test_a_prompt_goes_to_the_samples_of_the_next_training(page: Page, trained: FakeGateway) -> None:
    page.goto("/generate?lora=tr")
    expect(page.locator("#w-prompt")).to_have_value("a yellow star")
    page.uncheck("text=Draw it without the LoRA, too")
    generate(page)
    until(lambda: len(trained.submitted) == 1, what="the query")
    trained.drawn(trained.submitted[0]["id"], picture("teal"))
    page.click("text=To training samples")
    page.goto("/")
    samples = page.locator(field("sample_prompts"))
    expect(samples).to_have_value(
        "a yellow star in sks style --w 64 --h 64 --s 20 --l 3.0 --d 5\n"
        "a blue circle in sks style --w 64 --h 64 --s 20 --l 3.0 --d 5\n"
        "a red heart in sks style --w 64 --h 64 --s 20 --l 3.0 --d 5\n"
        "a cyan ring in sks style --w 64 --h 64 --s 20 --l 3.0 --d 5\n"
        "a yellow star --n dull, grey --w 64 --h 64 --s 20 --l 3 --d 5"
    )


def test_without_a_service_that_draws_the_page_says_so(page: Page, gateway: FakeGateway) -> None:
    gateway.services[0]["description"] = {"containers": []}
    page.goto("/generate")
    expect(page.locator(".problem")).to_contain_text("No service draws pictures")


def test_a_queued_drawing_says_its_place_and_can_be_stopped(page: Page, trained: FakeGateway) -> None:
    page.set_viewport_size(PHONE)
    page.goto("/generate")
    page.fill("#w-prompt", "a cat")
    generate(page)
    expect(page.locator(".drawing .line")).to_contain_text("queued, position 1")
    expect(page.locator(".drawing")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.click(".drawing >> text=Stop")
    expect(page.locator(".drawing .line")).to_have_text("stopped")

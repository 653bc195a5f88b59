"""The pages in other languages: chosen by the browser, switched and kept, and no text that a catalogue cannot reach."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.fake_gateway import FakeGateway, instance, progress
from tests.browser.stage import DESKTOP, FrontEnd, serving
from tests.browser.test_jobs_page import picture
from tests.browser.test_service_page import CPU, decision
from tests.unit.app.test_catalogues import texts_of_the_modules, texts_of_the_server

VISIBLE = """() => {
    const names = "pre, code, option, [data-lp-language]";
    const shown = (element) => element && element.checkVisibility() && !element.closest(names);
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode())
        if (shown(node.parentElement)) found.push(node.data);
    for (const element of document.querySelectorAll("[aria-label], [placeholder], [title], #lp-page option"))
        if (element.closest("#lp-page, .lp-ui, .lp-bar") && !element.closest("[data-lp-language]"))
            found.push(...["aria-label", "placeholder", "title"].map((name) => element.getAttribute(name) ?? ""),
                element.localName === "option" ? element.textContent : "");
    return found;
}"""
_MARKED = re.compile(r"⟦[^⟦⟧]*⟧")
_WORD = re.compile(r"[A-Za-z]{3,}")
DATA = {
    *(
        "lorapool",
        "LoRA",
        "GPU",
        "ScalableJob",
        "kohya",
        "job",
        "moonlight",
        "sks",
        "style",
        "png",
        "datasets",
    ),
    *(
        "models",
        "tiny",
        "shapes",
        "safetensors",
        "txt",
        "gpu",
        "box",
        "cpu",
        "cat",
        "mycat",
        "mytea",
        "yellow",
    ),
    *(
        "star",
        "auto",
        "default",
        "euler",
        "ddim",
        "pndm",
        "lms",
        "heun",
        "dpm",
        "sde",
        "unipc",
        "karras",
        "AdamW",
    ),
    *(
        "cosine",
        "loras",
        "SDXL",
        "form",
        "prodigy",
        "big",
        "cuda",
        "bit",
        "train",
        "network",
        "config",
        "file",
        "toml",
    ),
}
"""Names of things, which no catalogue translates."""


MAKING = 60_000
"""Milliseconds that the first form in a language may take on a busy machine."""


@pytest.fixture(scope="module")
def marked(front_end: FrontEnd) -> Iterator[str]:
    """A front end that has one more language: every text is itself, within brackets."""
    texts = texts_of_the_modules() | texts_of_the_server()
    catalogue = {
        "name": "⟦⟧",
        "texts": {text: f"⟦{text}⟧" for text in texts},
        "messages": {"{all}": "⟦{all}⟧"},
    }
    file = front_end.data_dir / "languages" / "qps.json"
    file.parent.mkdir()
    file.write_text(json.dumps(catalogue))
    with serving(front_end.gateway.endpoint, front_end.data_dir) as url:
        yield url
    file.unlink()


@pytest.fixture
def busy(gateway: FakeGateway) -> FakeGateway:
    now = time.time()
    gateway.add("run", name="style", state="running", started_at=now, attempt=2, instance="i-1")
    gateway.update("run", progress=progress(100, 400), phase="a phase")
    gateway.add("bad", name="style", state="failed", reason="a reason", finished_at=now, started_at=now)
    gateway.add("next", name="style", position=1, expected_start=now + 240)
    gateway.log("run", "1")
    for step in range(1, 20):
        gateway.point("run", step=step, loss=1 / step, lr=1e-4)
    gateway.file("run", "output/a.png", picture("red"), kind="sample", step=50, label="a cat")
    gateway.file("run", "output/a.safetensors", b"1", kind="checkpoint", step=50)
    gateway.instances.append(instance("i-1", state="busy", tasks=["run"], vitals=CPU))
    gateway.instances.append(instance("i-2", state="draining", vitals=None))
    gateway.users.append({"user": "", "run": 1.0, "boot": 0.0, "idle": 0.0})
    gateway.decisions.append(decision(why_not_more="max is two"))
    return gateway


READY = {
    "/": "#lp-outlook dd:has-text('30')",
    "/data": ".card img",
    "/jobs?task=run": ".shot img",
    "/jobs?task=bad": ".reason",
    "/jobs?task=next": ".progress dd",
    "/generate": ".wish button",
    "/service": ".usage tbody",
}


def unmarked(text: str) -> str:
    """What stands in no brackets, which may hold others."""
    while text != (text := _MARKED.sub("", text)):
        pass
    return text


def test_no_text_of_any_page_goes_past_the_catalogue(
    browser: Browser, front_end: FrontEnd, marked: str, busy: FakeGateway, tmp_path: Path
) -> None:
    pictures = list((front_end.data_dir / "datasets").rglob("*"))
    theirs = {file.name for file in pictures} | {
        file.read_text().strip() for file in pictures if file.suffix == ".txt"
    }
    context = browser.new_context(viewport=DESKTOP, base_url=marked, locale="qps")  # type: ignore[arg-type]
    page = context.new_page()
    past = {}
    for path, ready in READY.items():
        page.goto(path)
        expect(page.locator(ready).first).to_be_visible(timeout=MAKING)
        if path == "/":
            page.fill("#f-network_dim input", "0")
            page.keyboard.press("Tab")
            expect(page.locator("#f-network_dim .lp-problem")).to_contain_text("⟦")
        texts: list[str] = [text for text in page.evaluate(VISIBLE) if text.strip() not in theirs]
        words = {text: set(_WORD.findall(unmarked(text))) - DATA for text in texts}
        past[path] = sorted(text.strip() for text, left in words.items() if left)
    context.close()
    assert past == {path: [] for path in READY}


def test_the_browsers_language_is_taken_and_another_one_is_kept(
    browser: Browser, front_end: FrontEnd, busy: FakeGateway
) -> None:
    context = browser.new_context(viewport=DESKTOP, base_url=front_end.url, locale="zh-CN")  # type: ignore[arg-type]
    page = context.new_page()
    busy.update("bad", reason="width: is 100; a multiple of 8 is needed, such as 96")
    page.goto("/jobs?task=next")
    expect(page.locator("html")).to_have_attribute("lang", "zh")
    expect(page.locator(".progress")).to_contain_text("排队位置")
    expect(page.locator("[data-task=bad]").first).to_contain_text("width：现为 100；需要 8 的倍数，如 96")
    page.goto("/")
    expect(page.locator("#f-pretrained_model_name_or_path")).to_contain_text("底模")
    expect(page.locator("#lp-start")).to_have_text("开始训练")
    expect(page.locator(READY["/"]).first).to_be_visible(timeout=MAKING)
    page.fill("#f-train_data_dir input", "datasets/nothing")
    page.keyboard.press("Tab")
    expect(page.locator("#f-train_data_dir .lp-problem")).to_contain_text("数据目录中没有 datasets/nothing；")
    leaving = "1 busy instance to end when the work there does"
    why = f"nothing waits, 2 instances busy; tasks come too seldom to keep an idle one; {leaving}"
    busy.decisions.append(decision(decided="drain 1", why=why))
    page.goto("/service")
    expect(page.locator(".journal")).to_contain_text("启动 1 个。有任务在等待。")
    expect(page.locator(".journal")).to_contain_text(
        "没有任务等待，2 个实例工作中；任务太少，不值得保留空闲实例；1 个工作中的实例完成后退出。"
    )
    page.select_option(".lp-language", "en")
    expect(page.locator(".journal")).to_contain_text("Start 1.A task waits.")
    page.goto("/")
    expect(page.locator("#lp-start")).to_have_text("Start training")
    context.close()


def test_what_is_not_translated_stays_english(page: Page, front_end: FrontEnd, busy: FakeGateway) -> None:
    answer = page.request.get(f"{front_end.url}/languages/../../../etc/passwd.json")
    assert answer.status == 404
    assert page.request.get(f"{front_end.url}/languages/en.json").json() == {"texts": {}, "messages": {}}

"""Pages that follow a task which logs 100 lines a second: server CPU, how late a line is, what a long log costs.

A whole deployment, one task that prints the time in each line, one page in Chromium and 19 followers of the same
WebSocket that a page has (twenty Chromium pages on two cores would measure Chromium). `late` is from the task's print
to the line in the follower's hands, and in Chromium's document. CPU is of all processes of the deployment, in cores,
beside what the same task costs while nobody looks. Then a task of 100 000 lines: how large the page is.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import psutil
import websockets
from playwright.async_api import CDPSession, Page, async_playwright

from benchmarks._pool import percentile
from tests.browser.chromium import FLAGS, executable
from tests.support.box import Box

FOLLOWERS = 19
RATE = 100
SECONDS = 30
SETTLED = 3.0
LINES = 100_000

_SPEAKER = """
import sys, time
rate, seconds = float(sys.argv[1]), float(sys.argv[2])
began = time.monotonic()
for n in range(int(rate * seconds)):
    time.sleep(max(0.0, began + n / rate - time.monotonic()))
    print(f"at {time.time():.4f} line {n}, loss 0.0831, as a training says it", flush=True)
"""
_CROWD = "for n in range({}): print(f'line {{n}}, loss 0.0831, as a training says it')"
_WATCH = """(since) => {
    window.late = [];
    const look = (rows) => rows.forEach((row) => {
        const at = /^at ([0-9.]+) /.exec(row.textContent ?? "");
        if (at && Number(at[1]) > since && !window.seen.has(at[1])) {
            window.seen.add(at[1]);
            window.late.push(Date.now() / 1000 - Number(at[1]));
        }
    });
    window.seen = new Set();
    new MutationObserver((changes) => {
        look(document.querySelectorAll(".log .l"));
    }).observe(document.querySelector(".log"), { childList: true, subtree: true, characterData: true });
}"""


def main() -> None:
    """Measure, print a table."""
    with tempfile.TemporaryDirectory() as folder:
        box = Box(Path(folder) / "data", ui=True)
        speaker = Path(folder) / "speaker.py"
        speaker.write_text(_SPEAKER)
        box.start()
        try:
            asyncio.run(_measure(box, speaker))
        finally:
            box.stop()


async def _measure(box: Box, speaker: Path) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable(), args=list(FLAGS))
        page = await browser.new_page(base_url=f"http://127.0.0.1:{box.ui_port}")
        task = await asyncio.to_thread(_submit, box, [sys.executable, str(speaker), str(RATE), str(SECONDS)])
        await page.goto(f"/jobs?task={task}")
        # What was printed before a follower came is late through no fault of the pages.
        since = time.time() + SETTLED
        await page.evaluate(_WATCH, since)
        late: list[float] = []
        async with asyncio.timeout(SECONDS * 4):
            before = await asyncio.to_thread(_cpu, box)
            began = time.monotonic()
            await asyncio.gather(*(_follow(box, task, since, late) for _ in range(FOLLOWERS)))
            busy = (await asyncio.to_thread(_cpu, box) - before) / (time.monotonic() - began)
        in_page: list[float] = await page.evaluate("window.late")
        await page.goto("about:blank")
        # After it, so that the deployment's own start is over.
        alone = await _cpu_of_a_task(box, speaker)
        size, rows = await _long_log(box, page)
        await browser.close()
    print("| what | value |\n|---|---|")
    print(f"| lines a second, followers | {RATE}, {FOLLOWERS} and a page in Chromium |")
    print(f"| late, follower, p50 / p99 | {_ms(late, 0.5)} / {_ms(late, 0.99)} ms |")
    print(f"| late, in Chromium's document, p50 / p99 | {_ms(in_page, 0.5)} / {_ms(in_page, 0.99)} ms |")
    print(f"| lines measured, followers and page | {len(late)}, {len(in_page)} |")
    print(f"| CPU of all processes, nobody looking | {alone:.2f} cores |")
    print(f"| CPU of all processes, all following | {busy:.2f} cores |")
    print(f"| page after {LINES} lines: script memory, rows in the document | {size / 1e6:.1f} MB, {rows} |")


def _submit(box: Box, argv: list[str]) -> str:
    with box.client() as client:
        [service] = client.services()
        return client.service(service.name).submit(argv=argv, name="speaker").id


def _cpu(box: Box) -> float:
    """CPU seconds of all processes of the deployment so far."""
    total = 0.0
    for pid in box.processes():
        try:
            used = psutil.Process(pid).cpu_times()
            total += used.user + used.system
        except psutil.Error:
            continue
    return total


async def _cpu_of_a_task(box: Box, speaker: Path) -> float:
    """The same task while nobody looks, measured in its middle."""
    seconds = 10
    await asyncio.to_thread(_submit, box, [sys.executable, str(speaker), str(RATE), str(seconds + 4)])
    await asyncio.sleep(3)
    before = await asyncio.to_thread(_cpu, box)
    await asyncio.sleep(seconds)
    return (await asyncio.to_thread(_cpu, box) - before) / seconds


async def _follow(box: Box, task: str, since: float, late: list[float]) -> None:
    """One page's WebSocket until the task's last event."""
    url = f"ws://127.0.0.1:{box.ui_port}/live/tasks/{task}?log=0"
    async with websockets.connect(url, proxy=None, max_size=None) as socket:
        async for text in socket:
            now = time.time()
            message = json.loads(text)
            if message["event"] == "end":
                return
            if message["event"] == "log":
                words = (line.split() for _, line in message["data"]["lines"])
                printed = [float(word[1]) for word in words if word[:1] == ["at"]]
                late += [now - at for at in printed if at > since]


async def _long_log(box: Box, page: Page) -> tuple[float, int]:
    """Script memory in bytes and rows drawn, once a page that was there from the start has the whole long log."""
    task = await asyncio.to_thread(_submit, box, [sys.executable, "-c", _CROWD.format(LINES)])
    await page.goto(f"/jobs?task={task}")
    await page.wait_for_function(
        "(last) => [...document.querySelectorAll('.log .l')].some((row) => row.textContent.startsWith(last))",
        arg=f"line {LINES - 1},",
        timeout=180_000,
    )
    session: CDPSession = await page.context.new_cdp_session(page)
    await session.send("HeapProfiler.collectGarbage")
    await session.send("Performance.enable")
    metrics = {
        entry["name"]: entry["value"] for entry in (await session.send("Performance.getMetrics"))["metrics"]
    }
    return float(metrics["JSHeapUsedSize"]), await page.locator(".log .l").count()


def _ms(values: list[float], share: float) -> str:
    return f"{percentile(values, share) * 1000:.0f}"

"""Makes sure that the browser tests have a Chromium: one that is there, or one that is installed now."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.chromium import executable


def main() -> int:
    if executable() is not None or _bundled():
        return 0
    if shutil.which("apt-get") and os.geteuid() == 0:
        print("installing Chromium for the browser tests (Debian package)", flush=True)
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        install = [
            "apt-get",
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            "chromium",
            "fonts-dejavu-core",
        ]
        subprocess.run(install, check=False, stdout=subprocess.DEVNULL)
    if executable() is None:
        print("installing Chromium for the browser tests (playwright's own)", flush=True)
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    if executable() is None and not _bundled():
        print(
            "No Chromium could be installed. Install one (Debian: sudo apt-get install chromium), or name one with "
            "CHROMIUM=/path/to/chromium, and try again.",
            file=sys.stderr,
        )
        return 1
    return 0


def _bundled() -> bool:
    with sync_playwright() as playwright:
        return Path(playwright.chromium.executable_path).exists()


if __name__ == "__main__":
    raise SystemExit(main())

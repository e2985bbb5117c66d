"""A browser, as an operator has one: Debian's Chromium without a window."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

_MILLISECONDS: Final = 60_000
_SIZE: Final[ViewportSize] = {"width": 1400, "height": 1000}


@contextmanager
def browser_page(address: str, host: str = "") -> Iterator[Page]:
    """An empty page, which finds this address and nobody else.

    `host` is looked up at `address`; whom its certificate is from is no matter here.
    """
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("there is no chromium: `apt-get install chromium`")
    # As root, as in containers, Chromium has no sandbox of its own.
    options = [*(["--no-sandbox"] if os.geteuid() == 0 else []), "--disable-dev-shm-usage"]
    known = f"MAP {host} {address}, " if host else ""
    options.append(f"--host-resolver-rules={known}MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=options)
        page = browser.new_page(ignore_https_errors=True, viewport=_SIZE)
        page.set_default_timeout(_MILLISECONDS)
        expect.set_options(timeout=_MILLISECONDS)
        try:
            yield page
        finally:
            if folder := os.environ.get("E2E_SCREENSHOTS"):
                name = "ingress" if host else "port-forward"
                page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
            browser.close()

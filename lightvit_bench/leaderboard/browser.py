"""Headless Chromium, for the page's tests and its benchmark; nothing is downloaded for it.

Debian: apt install chromium chromium-driver. Python's side is selenium, pinned in constraints.txt.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lightvit_bench.errors import MissingDataError

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_NAMES = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "chromedriver": ("chromedriver",),
}
# A profile of its own, and none of the browser's own conversations with the network. No sandbox:
# it cannot be had as root in a container, and the only page opened is ours.
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--force-device-scale-factor=1"),
    "--force-prefers-reduced-motion",  # what a test reads is there at once
)


def missing() -> str | None:
    """What is not there of Chromium, its driver and selenium, in a sentence; None if all are."""
    absent = [name for name, names in _NAMES.items() if not any(map(shutil.which, names))]
    if importlib.util.find_spec("selenium") is None:
        absent.append("selenium")
    if not absent:
        return None
    return f"{' and '.join(absent)} not found (Debian: apt install chromium chromium-driver)"


@contextmanager
def headless(width: int = 1280, height: int = 900) -> Iterator[Chrome]:
    """A browser with a new, empty profile; it logs its console and every request.

    Raises:
        MissingDataError: Chromium, its driver or selenium is not installed.
    """
    reason = missing()
    if reason is not None:
        raise MissingDataError("no browser to open the page with.", missing=reason)
    from selenium import webdriver

    browser, driver = (next(filter(None, map(shutil.which, names))) for names in _NAMES.values())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for flag in (*_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # The driver's path is said, so that selenium looks for none, here or on the network.
        service = webdriver.ChromeService(executable_path=driver)
        chrome = webdriver.Chrome(options=options, service=service)
        try:
            yield chrome
        finally:
            chrome.quit()


if __name__ == "__main__":  # for `make test`: a line where the page's tests will be skipped
    reason = missing()
    if reason is not None:
        print(f"the tests of the leaderboard's page are skipped: {reason}", file=sys.stderr)

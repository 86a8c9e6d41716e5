"""Looks whether pages fit a narrow screen: none of them scrolls sideways at 400 pixels.

Usage: narrow_page.py PAGE.html...

Exits with 77 where there is no Chromium.
"""

import pathlib
import shutil
import sys
import tempfile

from click_page import Browser, require

WIDTH = 400


def main():
    driver = shutil.which("chromedriver")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not driver or not chromium:
        print("skipped: no Chromium")
        raise SystemExit(77)
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(driver, chromium, profile, WIDTH, 800)
        try:
            size = {"width": WIDTH, "height": 800, "deviceScaleFactor": 1, "mobile": False}
            browser.call("POST", "/goog/cdp/execute",
                         {"cmd": "Emulation.setDeviceMetricsOverride", "params": size})
            for page in sys.argv[1:]:
                browser.call("POST", "/url", {"url": pathlib.Path(page).resolve().as_uri()})
                rows = browser.run("return document.querySelectorAll('tr').length")
                width = browser.run("return document.documentElement.scrollWidth")
                require(rows > 2, f"{page} has {rows} rows")
                require(width <= WIDTH, f"{page} is {width} pixels wide on a screen of {WIDTH}")
        finally:
            browser.close()


if __name__ == "__main__":
    main()

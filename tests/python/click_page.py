"""Clicks through a page of `byoc partition --html` in headless Chromium, over the WebDriver protocol.

Usage: click_page.py PAGE.html NODE [SHOTS]

NODE is a node that has a reason or a pattern to show. Exits with 77 where there is no Chromium. With SHOTS, a
folder, screenshots are written there. Needs nothing but Python's own library.
"""

import base64
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """A session of a chromedriver of our own."""

    def __init__(self, driver, chromium, profile, width, height):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        self.base = f"http://127.0.0.1:{port}"
        flags = FLAGS + [f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        options = {"binary": chromium, "args": flags}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options,
                                                   "goog:loggingPrefs": {"browser": "ALL"}}}}
        for _ in range(100):
            try:
                self.session = self.call("POST", "/session", wanted)["sessionId"]
                break
            except urllib.error.URLError as error:
                if isinstance(error, urllib.error.HTTPError):
                    raise
                time.sleep(0.1)
        self.base += f"/session/{self.session}"

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"},
                                         method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def run(self, script):
        return self.call("POST", "/execute/sync", {"script": script, "args": []})

    def find(self, css):
        return self.call("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def click(self, css):
        self.call("POST", f"/element/{self.find(css)}/click", {})

    def keys(self, css, text):
        self.call("POST", f"/element/{self.find(css)}/value", {"text": text})

    def text(self, css):
        return self.call("GET", f"/element/{self.find(css)}/text")

    def click_at(self, css, x, y):
        """Presses at an offset from the element's centre."""
        origin = {ELEMENT: self.find(css)}
        moves = [{"type": "pointerMove", "duration": 0, "x": x, "y": y, "origin": origin},
                 {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        pointer = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": moves}
        self.call("POST", "/actions", {"actions": [pointer]})

    def shot(self, folder, name):
        if folder:
            time.sleep(0.2)
            data = base64.b64decode(self.call("GET", "/screenshot"))
            (pathlib.Path(folder) / f"{name}.png").write_bytes(data)

    def close(self):
        try:
            self.call("DELETE", "")
        finally:
            self.process.terminate()
            self.process.wait()


def require(holds, what):
    if not holds:
        raise SystemExit(f"the page is wrong: {what}")


def click_through(browser, page, node, shots):
    browser.call("POST", "/url", {"url": pathlib.Path(page).absolute().as_uri()})
    time.sleep(0.3)
    wide = browser.run("return innerWidth") > 720
    mark = "wide" if wide else "narrow"
    browser.shot(shots, f"{mark}-start")
    require(not browser.run("return document.documentElement.scrollWidth > innerWidth"), "it is wider than the window")
    require(browser.run("return graph.nodes.length") > 0, "it has no nodes")

    # Search leads to the node and its story; the node is then in the middle and can be pressed.
    browser.keys("#search", node)
    browser.shot(shots, f"{mark}-search")
    browser.keys("#search", "\ue007")
    require(browser.text("#story h2") == node, "search does not lead to the node")
    story = browser.text("#story")
    require("Arithmetic" in story and ("Why it stays" in story or "Pattern" in story), "the story says nothing")
    browser.shot(shots, f"{mark}-story")
    browser.click("#close")
    require(browser.run("return document.getElementById('panel').hidden"), "the panel does not close")
    at = browser.run(f"const n = graph.nodes.findIndex((n) => n.name === {json.dumps(node)}), p = shape.place[n];"
                     "return [p.x * view.k + view.x - canvas.clientWidth / 2, p.y * view.k + view.y - canvas.clientHeight / 2]")
    browser.click_at("#canvas", round(at[0]), round(at[1]))
    require(browser.text("#story h2") == node, "pressing the node does not tell its story")

    # The keyboard goes from node to node.
    browser.keys("#canvas", "\ue015")
    browser.keys("#canvas", "\ue00c")
    require(browser.run("return document.getElementById('panel').hidden"), "Escape does not close the panel")

    before = browser.run("return view.k")
    browser.click("#in")
    require(browser.run("return view.k") > before, "the button does not zoom in")
    browser.click("#fit")
    browser.shot(shots, f"{mark}-fit")
    if browser.run("return folded.length"):
        high = browser.run("return shape.bottom")
        browser.click("#fold")
        require(browser.run("return folded.every(Boolean)"), "regions do not fold")
        require(browser.run("return shape.bottom") <= high, "folding makes the picture higher")
        browser.shot(shots, f"{mark}-folded")
        browser.click("#fold")
        require(not browser.run("return folded.some(Boolean)"), "regions do not open")

    for tab in browser.run("return views.map((v) => v[0]).slice(1)"):
        browser.click(f"#tab-{tab}")
        require(browser.run("return document.querySelectorAll('#tables td').length") > 0, f"{tab} is empty")
        browser.shot(shots, f"{mark}-{tab}")
    browser.click("#tab-graph")

    # Fluent: drawing everything at once, and moving about in it.
    slowest = browser.run("fit(); let t = performance.now(); for (let i = 0; i < 10; i++) { view.x += 5; draw(); }"
                          "return (performance.now() - t) / 10")
    print(f"{mark}: {browser.run('return graph.nodes.length')} nodes, {slowest:.1f} ms a frame")
    require(slowest < 200, f"a frame takes {slowest:.0f} ms")
    log = [line["message"] for line in browser.call("POST", "/se/log", {"type": "browser"})]
    log = [line for line in log if "favicon" not in line]
    require(not log, f"it complains: {log}")


def main():
    page, node, *rest = sys.argv[1:]
    driver = shutil.which("chromedriver")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not driver or not chromium:
        print("skipped: no Chromium")
        raise SystemExit(77)
    shots = rest[0] if rest else None
    # Chromium's windows are no narrower than 500 pixels; the narrow page is shown through emulation.
    for width, height in [(1280, 860), (400, 800)]:
        with tempfile.TemporaryDirectory() as profile:
            browser = Browser(driver, chromium, profile, width, height)
            try:
                size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
                browser.call("POST", "/goog/cdp/execute",
                             {"cmd": "Emulation.setDeviceMetricsOverride", "params": size})
                click_through(browser, page, node, shots)
            finally:
                browser.close()


if __name__ == "__main__":
    main()

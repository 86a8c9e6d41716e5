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


# Where a node is on the canvas, from the canvas's centre.
AT = """const n = graph.nodes.findIndex((n) => n.name === %s && %s), p = shape.place[n];
        return [p.x * view.k + view.x - canvas.clientWidth / 2, p.y * view.k + view.y - canvas.clientHeight / 2]"""


def luminance(colour):
    parts = [int(c) / 255 for c in colour[colour.index("(") + 1:-1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(browser, css):
    """Contrast of an element's text with what is behind it, as WCAG 2 counts it."""
    ink, paper = browser.run(f"""const e = document.querySelector({json.dumps(css)});
        let b = e; while (b && getComputedStyle(b).backgroundColor === "rgba(0, 0, 0, 0)") b = b.parentElement;
        return [getComputedStyle(e).color, getComputedStyle(b || document.documentElement).backgroundColor]""")
    if not (ink.startswith("rgb") and paper.startswith("rgb")):
        return 21.0
    light, dark = sorted([luminance(ink), luminance(paper)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


def legible(browser, where, *elements):
    for css in elements:
        ratio = contrast(browser, css)
        require(ratio >= 4.5, f"{css} has a contrast of {ratio:.1f} only, {where}")


def ends_and_copies(browser, mark, shots):
    """Inputs, outputs and copies are drawn, have stories, and count as no nodes."""
    kinds = browser.run("return graph.nodes.map((n) => n.kind || null)")
    require("input" in kinds and "output" in kinds, "inputs and outputs are not drawn")
    for kind in ["input", "output", "copy"]:
        if kind not in kinds:
            continue
        browser.run(f"select({kinds.index(kind)})")
        story = browser.text("#story")
        words = {"input": "input of", "output": "output of", "copy": "own copy"}
        require(words[kind] in story, f"the story of an {kind} says nothing")
        require("Comes from" in story or "Goes to" in story, f"the story of an {kind} leads nowhere")
        browser.shot(shots, f"{mark}-{kind}")
        # From there to what is next to it.
        browser.click("#story ul .link")
        require(browser.run(f"return chosen.node !== {kinds.index(kind)}"), f"the links of an {kind} lead nowhere")
    browser.run("choose(null)")
    total = browser.run("return data.graphs.flatMap((g) => g.nodes).filter((n) => !n.kind).length")
    require(total == browser.run("return data.summary.nodes"), "copies and ends count as nodes")


def click_through(browser, page, node, mark, shots):
    browser.call("POST", "/url", {"url": pathlib.Path(page).absolute().as_uri()})
    for _ in range(100):
        drawn = browser.run("return performance.getEntriesByName('drawn').map((m) => m.startTime)[0]")
        if drawn:
            break
        time.sleep(0.1)
    require(drawn, "it is never drawn")
    wide = browser.run("return innerWidth") > 720
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
    at = browser.run(AT % (json.dumps(node), "!n.kind"))
    browser.click_at("#canvas", round(at[0]), round(at[1]))
    require(browser.text("#story h2") == node, "pressing the node does not tell its story")
    legible(browser, mark, "#summary", "#search", "#story h2", "#story dt", "#tabs button", "#tabs button[aria-selected=true]")

    # The keyboard goes from node to node, folds, zooms, and leads back to the search.
    before = browser.run("return chosen.node")
    steps = ["\ue015", "\ue013", "\ue014", "\ue012"]
    went = []
    for key in steps:
        browser.keys("#canvas", key)
        went.append(browser.run("return chosen.node"))
    require(any(n != before for n in went), "arrows lead nowhere")
    region = browser.run("return graph.picture.nodes[chosen.node].region")
    if region is not None:
        was = browser.run(f"return folded[{region}]")
        browser.keys("#canvas", "\ue007")
        require(browser.run(f"return folded[{region}]") != was, "Enter does not fold the region")
        browser.keys("#canvas", "\ue007")
    zoomed = browser.run("return view.k")
    browser.keys("#canvas", "+")
    require(browser.run("return view.k") > zoomed, "+ does not zoom in")
    browser.keys("#canvas", "-")
    browser.keys("#canvas", "0")
    browser.keys("#canvas", "/")
    require(browser.run("return document.activeElement.id") == "search", "/ does not lead to the search")
    browser.keys("#search", "\ue00c")
    browser.keys("#canvas", "\ue00c")
    require(browser.run("return document.getElementById('panel').hidden"), "Escape does not close the panel")
    ends_and_copies(browser, mark, shots)

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
        require(not browser.run("return document.documentElement.scrollWidth > innerWidth"), f"{tab} is too wide")
        legible(browser, f"{mark}, {tab}", "#tables h2", "#tables th", "#tables td")
        browser.shot(shots, f"{mark}-{tab}")
    browser.keys("#tabs button[aria-selected=true]", "\ue014")
    require(browser.run("return document.activeElement.id") == "tab-graph", "arrows do not go from tab to tab")

    # Fluent: drawing everything at once, and moving about in it.
    slowest = browser.run("fit(); let t = performance.now(); for (let i = 0; i < 10; i++) { view.x += 5; draw(); }"
                          "return (performance.now() - t) / 10")
    near = browser.run("view.k = 1; let t = performance.now(); for (let i = 0; i < 10; i++) { view.y -= 50; draw(); }"
                       "return (performance.now() - t) / 10")
    print(f"{mark}: {browser.run('return graph.nodes.length')} nodes, drawn after {drawn:.0f} ms, "
          f"{slowest:.1f} ms a frame with all in view, {near:.1f} ms from near")
    require(slowest < 200, f"a frame takes {slowest:.0f} ms")
    require(near < 50, f"a frame from near takes {near:.0f} ms")
    require(drawn < 5000, f"the first picture takes {drawn:.0f} ms")
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
    looks = [("wide", 1280, 860, "light"), ("narrow", 400, 800, "light"), ("wide-dark", 1280, 860, "dark"),
             ("narrow-dark", 400, 800, "dark")]
    for mark, width, height, scheme in looks:
        with tempfile.TemporaryDirectory() as profile:
            browser = Browser(driver, chromium, profile, width, height)
            try:
                size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
                browser.call("POST", "/goog/cdp/execute",
                             {"cmd": "Emulation.setDeviceMetricsOverride", "params": size})
                features = [{"name": "prefers-color-scheme", "value": scheme}]
                browser.call("POST", "/goog/cdp/execute",
                             {"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}})
                click_through(browser, page, node, mark, shots)
            finally:
                browser.close()


if __name__ == "__main__":
    main()

"""Open WebUI in a headless browser: one message, answered with the help of a built-in tool."""
import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request

from servers import hermes_call, scripted

START_SECONDS = 300
ANSWER_MS = 300_000


def drive(binary, cache):
    """What was tried, and what came of it."""
    from playwright.sync_api import sync_playwright

    steps = {
        "the first message is answered": "I look at the clock.",
        "its tool get_current_timestamp is called and the result used": "The clock was read.",
        "the chat gets a title": "A question of time",
    }
    first, after, title = steps.values()
    done = 0
    try:
        # It offers some 36 tools with each message, and asks for a title without any.
        with (scripted(binary, f"{first}\n{hermes_call('get_current_timestamp', {})}", "--ctx-size", 65536, "--parallel", 2,
                       after_tool=after, without_tools=f'{{"title": "{title}"}}') as base,
              serving(cache, base) as url, sync_playwright() as playwright):
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(url)
            page.locator("#chat-input").wait_for(timeout=ANSWER_MS)
            # What is new in this version, shown once.
            with contextlib.suppress(Exception):
                page.get_by_role("button", name="Okay, Let's Go!").click(timeout=10_000)
            page.locator("#chat-input").click()
            page.keyboard.type("What time is it?")
            page.keyboard.press("Enter")
            for text in steps.values():
                page.get_by_text(text).first.wait_for(timeout=ANSWER_MS)
                done += 1
            browser.close()
    except Exception as error:
        failure = f"failed: {type(error).__name__}: {error}"
    return [(what, "ok" if i < done else failure if i == done else "not reached") for i, what in enumerate(steps)]


@contextlib.contextmanager
def serving(cache, base):
    """Open WebUI with the server as its only source of models; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as data, open(pathlib.Path(data, "log"), "w") as log:
        settings = {
            "PATH": os.environ["PATH"], "HOME": data, "DATA_DIR": data, "LANG": "C.UTF-8",
            "OPENAI_API_BASE_URL": f"{base}/v1", "OPENAI_API_KEY": "none", "ENABLE_OLLAMA_API": "False",
            "WEBUI_AUTH": "False", "WEBUI_SECRET_KEY": "for this test", "OFFLINE_MODE": "True", "HF_HUB_OFFLINE": "1",
            "RAG_EMBEDDING_ENGINE": "openai",
        }
        command = [cache / "open-webui/bin/open-webui", "serve", "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen(command, cwd=data, env=settings, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait(server, url, log.name)
            yield url
        finally:
            server.terminate()
            server.wait(60)


def wait(server, url, log):
    for _ in range(START_SECONDS):
        with contextlib.suppress(OSError):
            if urllib.request.urlopen(url + "/health", timeout=10).status == 200:
                return
        if server.poll() is not None:
            break
        time.sleep(1)
    raise RuntimeError(f"Open WebUI does not start: {pathlib.Path(log).read_text()[-250:]}")

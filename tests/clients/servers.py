"""Servers for the clients: the binary with the built-in model or with one that says a given text."""
import contextlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
START_SECONDS = 60


@contextlib.contextmanager
def serve(binary, *flags, model=None):
    """Serves; gives `http://127.0.0.1:PORT`. A server that does not end well is an error."""
    log = tempfile.NamedTemporaryFile("w+", suffix=".log")
    command = [binary, "serve", "--port", "0", *(["--model", str(model)] if model else []), *map(str, flags)]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, env={})
    try:
        yield wait(server, log.name)
    finally:
        server.terminate()
        status = server.wait(60)
    if status:
        raise RuntimeError(f"the server ended with {status}: {tail(log.name)}")


def wait(server, log):
    """The server's address once its model is loaded."""
    for _ in range(START_SECONDS * 10):
        if server.poll() is not None:
            break
        found = re.search(r"listening on (http://[0-9.:]+)", pathlib.Path(log).read_text())
        with contextlib.suppress(OSError):
            if found and urllib.request.urlopen(found[1] + "/health", timeout=10).status == 200:
                return found[1]
        time.sleep(0.1)
    raise RuntimeError(f"the server does not start: {tail(log)}")


def tail(log):
    return pathlib.Path(log).read_text()[-250:]


@contextlib.contextmanager
def scripted(binary, say, *flags, template="hermes", after_tool=None, without_tools=None):
    """As `serve`, with a model that says these texts (tools/models/make_scripted.py)."""
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder) / "scripted.gguf"
        command = [sys.executable, ROOT / "tools/models/make_scripted.py", model, "--template", template, "--say", say]
        for option, text in {"--after-tool": after_tool, "--without-tools": without_tools}.items():
            command += [option, text] if text else []
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with serve(binary, *flags, model=model) as base:
            yield base


def hermes_call(name, arguments):
    """A call as Qwen3 writes it; the arguments in the order of the tool's schema."""
    call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{call}\n</tool_call>"


def xml_call(name, arguments):
    """A call as Qwen3-Coder writes it; all arguments are texts."""
    parameters = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in arguments.items())
    return f"<tool_call>\n<function={name}>\n{parameters}</function>\n</tool_call>"

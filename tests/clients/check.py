"""Drives real clients against the server and prints what came of it.

    check.py BINARY CACHE [CLIENT...]

`./dev client-check` installs the clients into CACHE and runs this where only loopback can be reached.
"""
import functools
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys

import agents
import open_webui
import report
from servers import ROOT, serve

HERE = pathlib.Path(__file__).resolve().parent
BINARY, CACHE = sys.argv[1], pathlib.Path(sys.argv[2])


def node_version(name):
    return json.loads((CACHE / "node/node_modules" / name / "package.json").read_text())["version"]


def python_version(name, environment="python"):
    found, = (CACHE / environment).glob("lib/python*/site-packages")
    return next(d.version for d in importlib.metadata.distributions(name=name, path=[str(found)]))


def lines(*command):
    """What a driver says of the built-in model."""
    with serve(BINARY, "--ctx-size", 16384, "--parallel", 2) as base:
        done = subprocess.run([*map(str, command), base], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    found = [tuple(line.split("\t")) for line in done.stdout.splitlines() if "\t" in line]
    if done.returncode or not found:
        found.append(("the driver", f"failed: {done.stderr[-300:]}"))
    return found


def one(what, run):
    """A driver of one thing to try."""
    try:
        run()
    except Exception as error:
        return [(what, f"failed: {type(error).__name__}: {error}")]
    return [(what, "ok")]


def suite(*command, cwd):
    """A test suite of `./dev test`, which finds the server in BASE_URL."""
    with serve(BINARY, "--ctx-size", 16384, "--parallel", 4) as base:
        done = subprocess.run([*map(str, command)], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env={"BASE_URL": base, "PATH": os.environ["PATH"]})
    if done.returncode:
        raise RuntimeError(done.stdout[-300:])


def by_format(what, run):
    found = []
    for template, name in {"hermes": "Qwen3's JSON", "xml": "Qwen3-Coder's XML"}.items():
        found += one(f"{what}, {name}", functools.partial(run, BINARY, CACHE, template))
    return found


sdk = functools.partial(lines, sys.executable, HERE / "sdks.py")
CLIENTS = {
    "openai for Python": (lambda: python_version("openai"), lambda: one(
        "tools, parse, stream, JSON schema: tests/api/python/test_tools.py",
        lambda: suite(sys.executable, "-m", "unittest", "test_tools", cwd=ROOT / "tests/api/python")) + one(
        "Responses, stream, parse: tests/api/python/test_responses.py",
        lambda: suite(sys.executable, "-m", "unittest", "test_responses", cwd=ROOT / "tests/api/python"))),
    "openai for Node": (lambda: node_version("openai"), lambda: one(
        "tools, runTools, parse, stream, JSON schema: tests/api/node/tools.test.mjs",
        lambda: suite("node", "--test", CACHE / "node/api/tools.test.mjs", cwd=CACHE / "node")) + one(
        "Responses, stream, parse: tests/api/node/responses.test.mjs",
        lambda: suite("node", "--test", CACHE / "node/api/responses.test.mjs", cwd=CACHE / "node"))),
    "anthropic for Python": (lambda: python_version("anthropic"), lambda: one(
        "messages, streams, tools, counts, errors: tests/api/python/test_messages.py",
        lambda: suite(sys.executable, "-m", "unittest", "test_messages", cwd=ROOT / "tests/api/python"))),
    "anthropic for Node": (lambda: node_version("@anthropic-ai/sdk"), lambda: one(
        "messages, streams, tools, counts, errors: tests/api/node/messages.test.mjs",
        lambda: suite("node", "--test", CACHE / "node/api/messages.test.mjs", cwd=CACHE / "node"))),
    "AI SDK": (lambda: node_version("ai"), lambda: lines("node", HERE / "ai-sdk.mjs", CACHE / "node/node_modules")),
    "LangChain": (lambda: python_version("langchain-openai"), lambda: sdk("langchain")),
    "pydantic-ai": (lambda: python_version("pydantic-ai-slim"), lambda: sdk("pydantic-ai")),
    "instructor": (lambda: python_version("instructor"), lambda: sdk("instructor")),
    "LiteLLM": (lambda: python_version("litellm"), lambda: sdk("litellm")),
    "ollama for Python": (lambda: python_version("ollama"), lambda: one(
        "chats, generations, tools, formats, errors: tests/api/python/test_ollama.py",
        lambda: suite(sys.executable, "-m", "unittest", "test_ollama", cwd=ROOT / "tests/api/python"))),
    "Claude Code": (lambda: node_version("@anthropic-ai/claude-code"),
                    lambda: by_format("a turn with a call of Write", agents.claude_code)),
    "qwen-code": (lambda: node_version("@qwen-code/qwen-code"),
                  lambda: by_format("a turn with a call of write_file", agents.qwen_code)),
    "opencode": (lambda: node_version("opencode-ai"), lambda: by_format("a turn with a call of write", agents.opencode)),
    "codex": (lambda: node_version("@openai/codex"),
              lambda: by_format("a turn with a call of exec_command", agents.codex)),
    "aider": (lambda: python_version("aider-chat", "aider"),
              lambda: one("a turn that writes a file as text", lambda: agents.aider(BINARY, CACHE))),
    "Open WebUI": (lambda: python_version("open-webui", "open-webui"), lambda: open_webui.drive(BINARY, CACHE)),
}


def main():
    names = sys.argv[3:] or list(CLIENTS)
    unknown = [name for name in names if name not in CLIENTS]
    if unknown:
        sys.exit(f"no such client: {', '.join(unknown)}; there are: {', '.join(CLIENTS)}")
    ok = failed = 0
    print("| client | version | what | result |\n|---|---|---|---|", flush=True)
    for name in names:
        version, drive = CLIENTS[name]
        for what, result in drive():
            print(f"| {name} | {version()} | " + report.line(what, result).replace("|", "\\|").replace("\t", " | ") + " |",
                  flush=True)
            ok, failed = ok + (result == "ok"), failed + (result != "ok")
    print(f"{ok} passed, {failed} failed, 0 skipped")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()

"""Coding agents, headless: each writes a file by what a scripted model says."""
import contextlib
import json
import os
import pathlib
import subprocess
import tempfile

from servers import hermes_call, scripted, xml_call

#: A file whose indentation, quotation marks and last line break are easily lost.
CODE = 'def f():\n    return "é"\n'
DONE = "The file is written."
#: qwen-code sends some 36,000 of the tokens of this model before the user says a word.
CONTEXT = ("--ctx-size", 131072, "--parallel", 2)
SECONDS = 600


@contextlib.contextmanager
def folders():
    """A home and a project, both empty."""
    with tempfile.TemporaryDirectory() as folder:
        home, project = pathlib.Path(folder, "home"), pathlib.Path(folder, "project")
        home.mkdir()
        project.mkdir()
        yield home, project


def run(command, home, project, **variables):
    """What an agent prints. It sees nothing of this machine's settings."""
    variables |= {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
    done = subprocess.run(command, cwd=project, env=variables, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS)
    if done.returncode:
        raise RuntimeError(f"status {done.returncode}: {done.stdout[-300:]}")
    return done.stdout


def check(printed, project, says):
    """The file is there byte for byte, and so is what the model said last."""
    file = project / "hello.py"
    if not file.exists():
        raise RuntimeError(f"no file: {printed[-300:]}")
    if file.read_text() != CODE:
        raise RuntimeError(f"another file: {file.read_text()!r}")
    if says not in printed:
        raise RuntimeError(f"no last word: {printed[-300:]}")


def qwen_code(binary, cache, template):
    """One turn with a tool call in the template's format."""
    with folders() as (home, project):
        arguments = {"file_path": f"{project}/hello.py", "content": CODE}
        call = {"hermes": hermes_call, "xml": xml_call}[template]("write_file", arguments)
        settings = home / ".qwen/settings.json"
        settings.parent.mkdir()
        settings.write_text(json.dumps({"security": {"auth": {"selectedType": "openai"}},
                                        "privacy": {"usageStatisticsEnabled": False}}))
        with scripted(binary, f"I write it.\n{call}", *CONTEXT, template=template, after_tool=DONE,
                      without_tools="Nothing to remember.") as base:
            printed = run([cache / "node/node_modules/.bin/qwen", "--yolo", "--prompt", "Write hello.py"], home, project,
                          OPENAI_BASE_URL=f"{base}/v1", OPENAI_API_KEY="none", OPENAI_MODEL="local")
        check(printed, project, DONE)


def opencode(binary, cache, template):
    """One turn with a tool call in the template's format; the title is asked for besides."""
    with folders() as (home, project):
        arguments = {"content": CODE, "filePath": f"{project}/hello.py"}
        call = {"hermes": hermes_call, "xml": xml_call}[template]("write", arguments)
        with scripted(binary, f"I write it.\n{call}", *CONTEXT, template=template, after_tool=DONE,
                      without_tools="A title") as base:
            settings = {
                "model": "strixhalo/local",
                "provider": {"strixhalo": {
                    "npm": "@ai-sdk/openai-compatible",
                    "options": {"baseURL": f"{base}/v1", "apiKey": "none"},
                    "models": {"local": {"limit": {"context": 65536, "output": 8192}}},
                }},
            }
            (project / "opencode.json").write_text(json.dumps(settings))
            printed = run([cache / "node/node_modules/.bin/opencode", "run", "Write hello.py"], home, project,
                          OPENCODE_DISABLE_MODELS_FETCH="1", OPENCODE_DISABLE_AUTOUPDATE="1")
        check(printed, project, DONE)


def claude_code(binary, cache, template):
    """One turn with a tool call in the template's format. It speaks Anthropic's API, and sends some
    38,000 of the tokens of this model before the user says a word."""
    with folders() as (home, project):
        arguments = {"file_path": f"{project}/hello.py", "content": CODE}
        call = {"hermes": hermes_call, "xml": xml_call}[template]("Write", arguments)
        with scripted(binary, f"I write it.\n{call}", *CONTEXT, template=template, after_tool=DONE,
                      without_tools="A title") as base:
            printed = run([cache / "node/node_modules/.bin/claude", "--print", "Write hello.py",
                           "--permission-mode", "acceptEdits"], home, project,
                          ANTHROPIC_BASE_URL=base, ANTHROPIC_AUTH_TOKEN="none", ANTHROPIC_MODEL="local",
                          ANTHROPIC_DEFAULT_HAIKU_MODEL="local", CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
                          DISABLE_AUTOUPDATER="1")
        check(printed, project, DONE)


def codex(binary, cache, template):
    """One turn with a tool call in the template's format, through `/v1/responses`."""
    with folders() as (home, project):
        arguments = {"cmd": f"cat >hello.py <<'END'\n{CODE}END"}
        call = {"hermes": hermes_call, "xml": xml_call}[template]("exec_command", arguments)
        with scripted(binary, f"I write it.\n{call}", *CONTEXT, template=template, after_tool=DONE) as base:
            settings = home / ".codex/config.toml"
            settings.parent.mkdir()
            settings.write_text("\n".join([
                'model = "local"', 'model_provider = "strixhalo"', "[model_providers.strixhalo]", 'name = "strixhalo"',
                f'base_url = "{base}/v1"', 'wire_api = "responses"', 'env_key = "STRIXHALO_API_KEY"']))
            printed = run([cache / "node/node_modules/.bin/codex", "exec", "--skip-git-repo-check",
                           "--dangerously-bypass-approvals-and-sandbox", "Write hello.py"], home, project,
                          STRIXHALO_API_KEY="none")
        check(printed, project, DONE)


def aider(binary, cache):
    """aider calls no tools: the model writes the file in the text of its answer."""
    with folders() as (home, project):
        says = f"Here it is.\n\nhello.py\n```\n{CODE}```"
        with scripted(binary, says, "--ctx-size", 16384, "--parallel", 1) as base:
            printed = run([cache / "aider/bin/aider", "--model", "openai/local", "--edit-format", "whole", "--no-git",
                           "--yes-always", "--no-pretty", "--no-check-update", "--no-show-model-warnings",
                           "--analytics-disable", "--message", "Write hello.py", "hello.py"], home, project,
                          OPENAI_API_BASE=f"{base}/v1", OPENAI_API_KEY="none")
        check(printed, project, "Applied edit to hello.py")

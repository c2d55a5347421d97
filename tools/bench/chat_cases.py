#!/usr/bin/env python3
"""What two servers make of the same awkward outputs: scripted models say each text token by token,
and the answers, whole and streamed, are compared with what they must be.

    chat_cases.py --ours target/release/strixhalo --peer /usr/bin/llama-server [--python VENV/bin/python]

PYTHON needs what tools/models/requirements.txt names. One row a case, and the sum.
"""
import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from compare import Failed, Server

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools/models/make_scripted.py"
XML = ROOT / "src/chat/template/fixtures/xml.jinja"


def tool(name, **properties):
    return {"type": "function", "function": {"name": name, "description": name, "parameters": {
        "type": "object", "properties": properties, "required": list(properties)[:1]}}}


TEXT = {"type": "string"}
LIST, READ = tool("list_dir"), tool("read_file", path=TEXT)
WRITE = tool("write_file", path=TEXT, content=TEXT)
BOOK = tool("book", code=TEXT, count={"type": "integer"}, when={"type": ["string", "null"]},
            all={"type": "boolean"}, tags={"type": "array", "items": TEXT})


def call(name, **values):
    """A call as Qwen3-Coder writes it."""
    lines = [f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in values.items()]
    return f"<tool_call>\n<function={name}>\n{''.join(lines)}</function>\n</tool_call>"


def hermes(name, arguments):
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


# Name, template, tools, what the model says, further fields of the request; what must come out:
# reasoning, content, calls, finish. `None`: not looked at.
CASES = [
    ("a call without its opening tag", "xml", [LIST],
     "I look around.\n\n<function=list_dir>\n</function>\n</tool_call>", {},
     "", "I look around.\n\n", [("list_dir", {})], "tool_calls"),
    ("a function that is no tool is text", "xml", [LIST],
     "Write <function=main> in your file.", {},
     "", "Write <function=main> in your file.", [], "stop"),
    ("a quoted tag is text", "hermes", [LIST],
     "Models write <tool_call> and then JSON.", {},
     "", "Models write <tool_call> and then JSON.", [], "stop"),
    ("values are typed by the schema", "xml", [BOOK],
     call("book", code="03106", count="3", when="null", all="True", tags='["a", "b"]'), {},
     "", "", [("book", {"code": "03106", "count": 3, "when": None, "all": True,
                        "tags": ["a", "b"]})], "tool_calls"),
    ("indentation and the last line break stay", "xml", [WRITE],
     call("write_file", path="a.py", content="    indented first line\nlast line\n"), {},
     "", "", [("write_file", {"path": "a.py",
                              "content": "    indented first line\nlast line\n"})], "tool_calls"),
    ("closing tags inside of a value", "xml", [WRITE],
     call("write_file", path="a.md", content="END = \"</parameter>\"\nx = '</function>'"), {},
     "", "", [("write_file", {"path": "a.md", "content":
                              "END = \"</parameter>\"\nx = '</function>'"})], "tool_calls"),
    ("a closing tag inside of a JSON string", "hermes", [READ],
     hermes("read_file", '{"path": "a</tool_call>b"}'), {},
     "", "", [("read_file", {"path": "a</tool_call>b"})], "tool_calls"),
    ("three calls", "hermes", [READ, LIST],
     "\n".join([hermes("read_file", '{"path": "a"}'), hermes("list_dir", "{}"),
                hermes("read_file", '{"path": "b"}')]), {},
     "", "", [("read_file", {"path": "a"}), ("list_dir", {}), ("read_file", {"path": "b"})],
     "tool_calls"),
    ("one call where only one is wanted", "hermes", [LIST],
     "\n".join([hermes("list_dir", "{}")] * 2), {"parallel_tool_calls": False},
     "", "", [("list_dir", {})], "tool_calls"),
    ("text before a call", "hermes", [LIST], "I look.\n" + hermes("list_dir", "{}"), {},
     "", None, [("list_dir", {})], "tool_calls"),
    ("escapes and characters of other planes", "hermes", [READ],
     hermes("read_file", '{"path": "a\\\\b\\u00e9\\ud83d\\ude00 🦀"}'), {},
     "", "", [("read_file", {"path": "a\\bé😀 🦀"})], "tool_calls"),
    ("a call that is cut is no whole object", "xml", [WRITE],
     call("write_file", path="a.py", content="half of the file " * 20), {"max_tokens": 30},
     "", "", "cut", "length"),
    ("thoughts apart", "thinking", [], "I think.\n</think>\n\nDone.", {},
     "I think.", "Done.", [], "stop"),
    ("thoughts that are cut are not content", "thinking", [],
     "still thinking when the tokens end, and on and on it goes", {"max_tokens": 8},
     None, "", [], "length"),
    ("a call in a block that is never closed", "thinking-xml", [LIST],
     "I need the files.\n" + call("list_dir"), {},
     None, "", [("list_dir", {})], "tool_calls"),
    ("no tools, so a tag is text", "hermes", [], "<tool_call> is a tag.", {},
     "", "<tool_call> is a tag.", [], "stop"),
]


def ask(base, body):
    request = urllib.request.Request(base + "/v1/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.read().decode()


def whole(base, body):
    choice = json.loads(ask(base, body))["choices"][0]
    message = choice["message"]
    calls = [(c["function"]["name"], c["function"]["arguments"])
             for c in message.get("tool_calls") or []]
    return (message.get("reasoning_content") or "", message.get("content") or "", calls,
            choice["finish_reason"])


def streamed(base, body):
    reasoning, content, calls, finish = "", "", [], None
    for line in ask(base, dict(body, stream=True)).split("\n"):
        if not line.startswith("data: {"):
            continue
        data = json.loads(line[6:])
        if "error" in data:
            raise Failed(str(data["error"])[:200])
        for choice in data.get("choices") or []:
            delta = choice.get("delta") or {}
            reasoning += delta.get("reasoning_content") or ""
            content += delta.get("content") or ""
            finish = choice.get("finish_reason") or finish
            for part in delta.get("tool_calls") or []:
                if part["index"] == len(calls):
                    calls.append([part["function"]["name"], ""])
                calls[part["index"]][1] += part["function"].get("arguments") or ""
    return reasoning, content, [tuple(c) for c in calls], finish


def fault(got, case):
    """What is wrong with an answer, or None."""
    reasoning, content, calls, finish = got
    want_reasoning, want_content, want_calls, want_finish = case[5:]
    if finish != want_finish:
        return f"finish {finish}"
    if want_reasoning is not None and reasoning != want_reasoning:
        return f"reasoning {reasoning!r}"
    if want_content is not None and content != want_content:
        return f"content {content!r}"
    parsed = []
    for name, arguments in calls:
        try:
            parsed.append((name, json.loads(arguments)))
        except ValueError:
            parsed.append((name, None))
    if want_calls == "cut":
        return None if all(value is None for _, value in parsed) else "a cut call looks whole"
    return None if parsed == want_calls else f"calls {calls}"


def result(server, case):
    tools, extra = case[2], case[4]
    body = {"messages": [{"role": "user", "content": "Do it."}], "temperature": 0,
            "max_tokens": 400, **({"tools": tools} if tools else {}), **extra}
    faults = []
    for kind, how in (("whole", whole), ("streamed", streamed)):
        try:
            found = fault(how(server.base, body), case)
        except urllib.error.HTTPError as error:
            found = f"{error.code} {error.read().decode(errors='replace')[:120]}"
        except (Failed, KeyError, IndexError, ValueError) as error:
            found = str(error)[:120]
        if found:
            faults.append(f"{kind}: {found}")
    return "; ".join(faults)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--ours", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chat-cases-"))
    right = {"ours": 0, "peer": 0}
    templates = {"thinking-xml": folder / "thinking-xml.jinja"}
    opens = "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"
    templates["thinking-xml"].write_text(XML.read_text() + opens)
    print("| case | ours | peer |\n|---|---|---|")
    for number, case in enumerate(CASES):
        model = folder / f"{number}.gguf"
        template = str(templates.get(case[1], case[1]))
        subprocess.run([options.python, SCRIPT, model, "--say", case[3], "--template", template],
                       check=True, stdout=subprocess.DEVNULL)
        cells = {}
        for name, command in (("ours", options.ours + " serve"), ("peer", options.peer)):
            line = shlex.split(command) + ["-m", str(model), "-c", "4096", "-np", "1", "-ctk", "f16",
                                           "-ctv", "f16"]
            server = Server(name, line, name == "ours", str(folder / f"{name}.log"))
            try:
                found = result(server, case)
            finally:
                server.stop()
            right[name] += not found
            cells[name] = "right" if not found else found.replace("|", "\\|").replace("\n", "\\n")
        print(f"| {case[0]} | {cells['ours']} | {cells['peer']} |", flush=True)
    print(f"| **right** | {right['ours']} of {len(CASES)} | {right['peer']} of {len(CASES)} |")


if __name__ == "__main__":
    main()

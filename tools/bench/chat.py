#!/usr/bin/env python3
"""Compares two servers at tool calls and structured output: the share of forced calls that are
whole and fit their schema, tokens/s with a schema and without, and the time to the first token with
60 tools in the request.

    chat.py --ours target/release/strixhalo --peer /usr/bin/llama-server --model FILE.gguf
    chat.py ... --calls 200 --only calls,speed,tools

FILE should have random weights and a template that shows tools (`tools/models/make_random.py`):
trained models hide what a server does not enforce. Python's standard library only.
"""
import argparse
import concurrent.futures
import json
import random
import re
import shlex
import statistics
import tempfile
import time
import urllib.error
import urllib.request

from compare import Server

WORDS = "alpha beta gamma delta path query limit mode name text level count color".split()


def post(base, body, path="/v1/chat/completions", timeout=600):
    """The answer's status and JSON."""
    request = urllib.request.Request(base + path, json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, {"error": error.read().decode(errors="replace")[:300]}


def parameter(chance):
    """A schema whose values are short: a random model never ends by itself."""
    kind = chance.choice(["string", "enum", "integer", "boolean", "array", "pattern"])
    if kind == "string":
        return {"type": "string", "minLength": 1, "maxLength": chance.randint(3, 12)}
    if kind == "enum":
        return {"type": "string", "enum": chance.sample(WORDS, 3)}
    if kind == "integer":
        return {"type": "integer", "minimum": 0, "maximum": chance.randint(9, 999)}
    if kind == "boolean":
        return {"type": "boolean"}
    if kind == "array":
        return {"type": "array", "minItems": 1, "maxItems": 3,
                "items": {"type": "string", "enum": chance.sample(WORDS, 2)}}
    return {"type": "string", "pattern": "^[a-z]{2,5}-[0-9]{1,3}$"}


def tool(chance, name):
    properties = {key: parameter(chance) for key in chance.sample(WORDS, chance.randint(1, 4))}
    return {"type": "function", "function": {
        "name": name, "description": "A tool that does " + " ".join(chance.sample(WORDS, 5)),
        "parameters": {"type": "object", "properties": properties,
                       "required": list(properties), "additionalProperties": False}}}


def fits(value, schema):
    if "enum" in schema:
        return value in schema["enum"]
    kind = schema["type"]
    if kind == "string":
        low, high = schema.get("minLength", 0), schema.get("maxLength", 10 ** 9)
        return (isinstance(value, str) and low <= len(value) <= high
                and re.search(schema.get("pattern", ""), value) is not None)
    if kind == "integer":
        return (isinstance(value, int) and not isinstance(value, bool)
                and schema["minimum"] <= value <= schema["maximum"])
    if kind == "boolean":
        return isinstance(value, bool)
    return (isinstance(value, list) and schema["minItems"] <= len(value) <= schema["maxItems"]
            and all(fits(item, schema["items"]) for item in value))


def fault(answer, tools):
    """Why the answer is no whole set of calls, or None."""
    status, body = answer
    if status != 200:
        return f"status {status}"
    choice = body["choices"][0]
    calls = choice["message"].get("tool_calls") or []
    if not calls:
        return "no call"
    if choice["finish_reason"] != "tool_calls":
        return "finish " + str(choice["finish_reason"])
    schemas = {t["function"]["name"]: t["function"]["parameters"] for t in tools}
    for call in calls:
        name, text = call["function"]["name"], call["function"]["arguments"]
        if name not in schemas:
            return "unknown name"
        try:
            arguments = json.loads(text)
        except ValueError:
            return "arguments are no JSON"
        properties = schemas[name]["properties"]
        if not isinstance(arguments, dict) or set(arguments) != set(properties):
            return "other arguments"
        if not all(fits(arguments[key], schema) for key, schema in properties.items()):
            return "arguments do not fit"
    return None


def forced_calls(base, n):
    """How often each fault comes; the key None counts the whole ones."""
    def one(seed):
        chance = random.Random(seed)
        tools = [tool(chance, f"tool_{i}") for i in range(chance.randint(1, 3))]
        body = {"messages": [{"role": "user", "content": f"Call a tool, number {seed}."}],
                "tools": tools, "tool_choice": "required", "parallel_tool_calls": False,
                "temperature": 1.0, "seed": seed, "max_tokens": 512}
        return fault(post(base, body), tools)
    faults = {}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for result in pool.map(one, range(n)):
            faults[result] = faults.get(result, 0) + 1
    return faults


SCHEMA = {"type": "object", "properties": {"rows": {"type": "array", "minItems": 100, "items": {
    "type": "object", "properties": {"name": {"type": "string", "maxLength": 20},
                                     "count": {"type": "integer", "minimum": 0, "maximum": 9999}},
    "required": ["name", "count"], "additionalProperties": False}}},
    "required": ["rows"], "additionalProperties": False}


def speed(base, streams, constrained, seed):
    """Tokens/s of all streams together."""
    def one(i):
        # No chat: llama-server answers 500 where a chat's constrained output is cut.
        body = {"prompt": f"Fill the table {seed} {i}.", "temperature": 1.0, "seed": seed + i,
                "max_tokens": 128}
        body.update({"json_schema": SCHEMA} if constrained else {"ignore_eos": True})
        status, answer = post(base, body, "/v1/completions")
        if status != 200:
            raise SystemExit(f"{base}: {status} {answer}")
        return answer["usage"]["completion_tokens"]
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(streams) as pool:
        tokens = sum(pool.map(one, range(streams)))
    return tokens / (time.monotonic() - begin)


def first_token(base, n_tools, seed):
    """Milliseconds to the first event of a stream that has text or a call."""
    chance = random.Random(seed)
    body = {"messages": [{"role": "system", "content": f"Session {seed}."},
                         {"role": "user", "content": "Hello"}],
            "tools": [tool(chance, f"tool_{seed}_{i}") for i in range(n_tools)],
            "temperature": 1.0, "seed": seed, "max_tokens": 8, "stream": True}
    request = urllib.request.Request(base + "/v1/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    begin = time.monotonic()
    with urllib.request.urlopen(request, timeout=600) as answer:
        for line in answer:
            if line.startswith(b"data: {"):
                delta = (json.loads(line[6:])["choices"] or [{}])[0].get("delta") or {}
                if any(delta.get(k) for k in ("content", "reasoning_content", "tool_calls")):
                    break
        answer.read()
    return (time.monotonic() - begin) * 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--ours", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--ours-args", default="")
    parser.add_argument("--peer-args", default="")
    parser.add_argument("--model", required=True)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ctx-size", default="131072", help="of 8 slots together [%(default)s]")
    parser.add_argument("--only", default="calls,speed,tools")
    options = parser.parse_args()
    wanted = options.only.split(",")
    logs = tempfile.mkdtemp(prefix="chat-bench-")
    common = ["-m", options.model, "-c", options.ctx_size, "-np", "8", "-ctk", "f16", "-ctv", "f16"]
    servers = {}
    try:
        for name, command, more in (("ours", options.ours, options.ours_args),
                                    ("peer", options.peer, options.peer_args)):
            line = shlex.split(command) + (["serve"] if name == "ours" else []) + common
            servers[name] = Server(name, line + shlex.split(more), name == "ours",
                                   f"{logs}/{name}.log")
        print("| figure | ours | peer | ratio |\n|---|--:|--:|--:|")
        if "calls" in wanted:
            results = {n: forced_calls(s.base, options.calls) for n, s in servers.items()}
            cells = [f"{results[n].get(None, 0)} of {options.calls}" for n in ("ours", "peer")]
            print(f"| forced calls that are whole and fit | {cells[0]} | {cells[1]} | |")
            for name, faults in results.items():
                print(f"<!-- {name}: {({str(k): v for k, v in faults.items()})} -->")
        rows = []
        if "speed" in wanted:
            for streams in (1, 8):
                for constrained in (False, True):
                    kind = "with a schema" if constrained else "without"
                    rows.append((f"tokens/s, {streams} streams, {kind}", True,
                                 lambda base, seed, s=streams, c=constrained:
                                 speed(base, s, c, seed)))
        if "tools" in wanted:
            rows.append(("first token with 60 new tools, ms", False,
                         lambda base, seed: first_token(base, 60, seed)))
            rows.append(("first token with 60 tools again, ms", False,
                         lambda base, seed: first_token(base, 60, 1)))
        for title, more, measure in rows:
            pairs = []
            for number in range(options.rounds):
                order = ("ours", "peer") if number % 2 else ("peer", "ours")
                values = {n: measure(servers[n].base, 1000 + 100 * number) for n in order}
                pairs.append((values["ours"], values["peer"]))
            ours, peer = (statistics.median(p[i] for p in pairs) for i in (0, 1))
            ratio = statistics.median(a / b if more else b / a for a, b in pairs)
            print(f"| {title} | {ours:.1f} | {peer:.1f} | {ratio:.2f} |")
    finally:
        for server in servers.values():
            server.stop()


if __name__ == "__main__":
    main()

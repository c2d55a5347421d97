#!/usr/bin/env python3
"""What computing forced text in one step gives: a named call whose keys are long and whose values
are short, of one server with speculation and one without, asked in turn. Prints the medians of
the pairs' ratios, above 1 where speculation is faster.

    forced_call.py STRIXHALO --model FILE.gguf [--calls 12] [--threads 2]

Random models choose other values in each call, so time is also given by bytes and by tokens.
Python's standard library only.
"""
import argparse
import statistics
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "soak"))

from server import Server  # noqa: E402

KEYS = ("file_path_of_the_document old_string_to_be_replaced new_string_that_replaces_it "
        "expected_number_of_replacements working_directory_of_command description_of_this_change "
        "timeout_in_milliseconds encoding_of_file_contents confirm_before_overwriting").split()
VALUE = {"type": "string", "pattern": "^[a-z ]{10}$"}
TOOL = {"name": "apply_change_to_workspace_document", "strict": True,
        "parameters": {"type": "object", "properties": {key: VALUE for key in KEYS},
                       "required": KEYS, "additionalProperties": False}}


def ask(server, seed):
    """Milliseconds, tokens and bytes of a call."""
    status, answer = server.ask("POST", "/v1/chat/completions", {
        "messages": [{"role": "user", "content": "Change the file."}],
        "tools": [{"type": "function", "function": TOOL}], "parallel_tool_calls": False,
        "tool_choice": {"type": "function", "function": {"name": TOOL["name"]}},
        "temperature": 1, "seed": seed, "max_tokens": 2000})
    if status != 200:
        raise SystemExit(f"{status}: {answer}")
    call = answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    timings = answer["timings"]
    return timings["predicted_ms"], timings["predicted_n"], len(call)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("binary")
    parser.add_argument("--model", required=True)
    parser.add_argument("--calls", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    options = SimpleNamespace(binary=args.binary, model=args.model)
    flags = ["--threads", str(args.threads), "--ctx-size", "4096", "--parallel", "1"]
    with Server(options, *flags) as fast, Server(options, *flags, "--speculation", "off") as plain:
        pairs = []
        for seed in range(args.calls + 1):
            first, second = (fast, plain) if seed % 2 else (plain, fast)
            got = {id(first): ask(first, seed), id(second): ask(second, seed)}
            pairs.append((got[id(fast)], got[id(plain)]))
    # The first call of each measures what a step costs.
    for name, figure in (("call", lambda x: x[0]), ("byte", lambda x: x[0] / x[2]),
                         ("token", lambda x: x[0] / x[1])):
        ratios = [figure(plain) / figure(fast) for fast, plain in pairs[1:]]
        print(f"time a {name}: {statistics.median(ratios):.2f}")


main()

#!/usr/bin/env python3
"""Sends 1,000 malformed bodies, made from real ones by changing bytes; each must be answered or
refused with a 400 in OpenAI's form, and the next answer must be right."""

import collections
import json
import random
import time

from server import Server, arguments, chat

options = arguments(__doc__, bodies=1000, seed=1)
dice = random.Random(options.seed)

PATHS = {
    "/v1/chat/completions": [
        chat("hi", max_tokens=2, stop=["a", "b"], logit_bias={"5": 1}, n=2, samplers=["top_k", "temperature"]),
        chat("hi", max_tokens=1, tools=[], logprobs=True, top_logprobs=3, stream_options={"include_usage": True}),
    ],
    "/v1/completions": [
        {"prompt": ["a", [1, 2, "b"]], "max_tokens": 2, "echo": True, "logprobs": 2, "dry_multiplier": 0.8},
        {"prompt": "Once upon", "max_tokens": 2, "mirostat": 2, "seed": 5},
    ],
    "/apply-template": [{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}],
    "/tokenize": [{"content": ["a", 5, "b"], "with_pieces": True}],
    "/detokenize": [{"tokens": [1, 2, 3]}],
}
WORDS = [b"null", b"[]", b"{}", b'"', b"\\", b"\\ud800", b"-1", b"1e999", b"99999999999999999999", b"\xff", b"\0", b"[" * 300, b"true"]


def mutated(body):
    data = bytearray(json.dumps(body).encode())
    for _ in range(dice.randint(1, 2)):
        at = dice.randrange(len(data) or 1)
        what = dice.randrange(5)
        if what == 0:
            del data[at:]
        elif what == 1:
            del data[at : at + dice.randint(1, 8)]
        elif what == 2:
            data[at : at + 1] = bytes([dice.randrange(256)])
        elif what == 3:
            data[at:at] = dice.choice(WORDS)
        else:
            end = at + dice.randint(1, 20)
            data[at:at] = data[at:end]
    return bytes(data)


# A body that loses its limit would otherwise fill the context.
with Server(options, "--ctx-size", "2048", "--parallel", "4", "--n-predict", "8") as server:
    right = server.chat(chat("What is the capital of France?", cache_prompt=False))[1]["choices"]
    seen = collections.Counter()
    start = time.monotonic()
    for _ in range(options.bodies):
        path = dice.choice(list(PATHS))
        body = mutated(dice.choice(PATHS[path]))
        status, answer = server.ask("POST", path, body)
        seen[status] += 1
        assert status in (200, 400), (status, path, body, answer)
        if status == 400:
            error = answer["error"]
            assert error["type"] == "invalid_request_error" and error["code"], (body, answer)
    took = time.monotonic() - start
    server.wait(lambda: server.busy() == 0, 10, "slots are still busy after 10 s")
    answer = server.chat(chat("What is the capital of France?", cache_prompt=False))[1]["choices"]
    assert answer == right, (right, answer)
    print(f"{options.bodies} malformed bodies in {took:.1f} s: {dict(seen)}; the next answer is right")

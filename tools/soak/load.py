#!/usr/bin/env python3
"""Mixed load for 30 minutes (--minutes): short and long chats, streams, dropped streams, several
choices, tokenizing, wrong bodies. Memory must stay flat (its slope is printed), and each greedy
answer must be the one that the server gave when it was cold and alone."""

import collections
import random
import threading
import time

from server import QUESTIONS, Server, arguments, chat, same_answer, slope, tokens

options = arguments(__doc__, minutes=30.0, clients=6, seed=1, most_slope=512)
# Bounds that are reached soon: a cache that fills is no leak.
CACHES = ["--cache-ram", "64", "--cache-checkpoints", "16"]
WITH_TOKENS = {"logprobs": True, "top_logprobs": 2}
counts = collections.Counter()
faults = []


def greedy(server, dice, cold):
    question = dice.choice(list(cold))
    status, answer = server.chat(chat(question, **WITH_TOKENS))
    verdict = same_answer(cold[question], tokens(answer)) if status == 200 else f"status {status}"
    counts[f"greedy answers: {verdict}"] += 1
    if verdict not in ("same", "tie"):
        faults.append((question, status, answer))


def sampled(server, dice, _):
    body = chat(dice.choice(QUESTIONS), temperature=1, n=dice.randint(1, 3), seed=dice.randrange(1000))
    counts["sampled answers"] += server.chat(body)[0] == 200


def streamed(server, dice, _):
    client = server.open_stream(chat(dice.choice(QUESTIONS)))
    data = b""
    while b"[DONE]" not in data and (part := client.recv(65536)):
        data += part
    client.close()
    counts["streams read"] += b"data: [DONE]" in data


def dropped(server, dice, _):
    client = server.open_stream(chat("Tell me a story.", ignore_eos=True, max_tokens=-1))
    client.recv(dice.randint(1, 20_000))
    client.close()
    counts["streams dropped"] += 1


def long_prompt(server, dice, _):
    words = " ".join(dice.choice(QUESTIONS) for _ in range(dice.randint(20, 150)))
    counts["long prompts"] += server.chat(chat(words, max_tokens=4))[0] == 200


def too_long(server, dice, _):
    counts["prompts too long"] += server.chat(chat("word " * 20_000))[0] == 400


def wrong(server, dice, _):
    body = b'{"messages": [{"role": "user", "content": "' + dice.randbytes(20)
    counts["wrong bodies"] += server.chat(body)[0] == 400


def other(server, dice, _):
    path = dice.choice(["/metrics", "/slots", "/props", "/v1/models"])
    counts["other requests"] += server.get(path)[0] == 200
    body = {"content": dice.choice(QUESTIONS) * dice.randint(1, 500), "with_pieces": True}
    counts["other requests"] += server.ask("POST", "/tokenize", body)[0] == 200


KINDS = [greedy] * 8 + [sampled] * 2 + [streamed] * 3 + [dropped] * 2 + [long_prompt] * 2 + [too_long, wrong, other]


def client(server, number, cold, end):
    dice = random.Random(options.seed * 1000 + number)
    while time.monotonic() < end and server.process.poll() is None:
        kind = dice.choice(KINDS)
        try:
            kind(server, dice, cold)
        except (OSError, ValueError, KeyError, TypeError) as error:
            faults.append((kind.__name__, repr(error)))


with Server(options, "--ctx-size", "16384", "--parallel", "4", *CACHES) as server:
    cold = {q: tokens(server.chat(chat(q, cache_prompt=False, **WITH_TOKENS))[1]) for q in QUESTIONS}
    start = time.monotonic()
    end = start + options.minutes * 60
    threads = [threading.Thread(target=client, args=(server, n, cold, end)) for n in range(options.clients)]
    for thread in threads:
        thread.start()
    samples = []
    while any(thread.is_alive() for thread in threads):
        if server.process.poll() is not None:
            raise SystemExit("the server died:\n" + "".join(server.log[-20:]))
        samples.append((time.monotonic() - start, server.rss_kib()))
        time.sleep(1)
    server.wait(lambda: server.busy() == 0, 10, "slots are still busy after 10 s")
    # Buffers and heaps grow to their size in the beginning.
    settled = [sample for sample in samples if sample[0] > options.minutes * 60 / 3]
    rise = slope(settled)
    for name, count in sorted(counts.items()):
        print(f"{count:8} {name}")
    print(f"{options.minutes:g} min: resident {samples[0][1]} KiB at the start, {samples[-1][1]} at the end, {max(m for _, m in samples)} at most")
    print(f"slope over the last two thirds: {rise:+.1f} KiB a minute")
    for fault in faults[:5]:
        print("fault:", fault)
    assert not faults, f"{len(faults)} faults"
    assert rise < options.most_slope, "memory is not flat"

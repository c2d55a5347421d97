#!/usr/bin/env python3
"""Opens 200 streams and drops each at a random moment; then every slot must be free and the next
answer right."""

import random
import threading
import time

from server import Server, arguments, chat

options = arguments(__doc__, streams=200, at_once=16, seed=1)
dice = random.Random(options.seed)


def drop_one(server, pause, endless):
    fields = {"max_tokens": -1, "ignore_eos": True} if endless else {}
    client = server.open_stream(chat("Tell me a story. " * dice.randint(1, 100), **fields))
    end = time.monotonic() + pause
    while (left := end - time.monotonic()) > 0:
        client.settimeout(left)
        try:
            if not client.recv(4096):
                break
        except TimeoutError:
            break
    client.close()


with Server(options, "--ctx-size", "32768", "--parallel", "4") as server:
    right = server.chat(chat("What is the capital of France?", cache_prompt=False))[1]["choices"]
    start = time.monotonic()
    gate = threading.Semaphore(options.at_once)

    def guarded(*what):
        with gate:
            drop_one(server, *what)

    workers = [
        threading.Thread(target=guarded, args=(dice.expovariate(3), dice.random() < 0.7))
        for _ in range(options.streams)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    dropped = time.monotonic() - start
    server.wait(lambda: server.busy() == 0, 10, f"{server.busy()} slots are still busy after 10 s")
    freed = time.monotonic() - start - dropped
    answer = server.chat(chat("What is the capital of France?", cache_prompt=False))[1]["choices"]
    assert answer == right, (right, answer)
    print(
        f"{options.streams} streams opened and dropped in {dropped:.1f} s; all slots free "
        f"{freed * 1000:.0f} ms later; the next answer is right"
    )

#!/usr/bin/env python3
"""32 clients that do not read their streams, beside a fast one. As long as their buffers fill they
are streams like any other; from then on they must cost the fast one nothing (--most, times its
time alone), and in the end they must be dropped. The stall timeout is set to 20 s for this."""

import time

from server import Server, arguments, chat

options = arguments(__doc__, readers=32, most=1.5)

with Server(
    options,
    "--ctx-size", str(2048 * (options.readers + 1)),
    "--parallel", str(options.readers + 1),
    STRIXHALO_LIMITS__STREAM_STALL_TIMEOUT="20",
    STRIXHALO_LIMITS__STREAM_BUFFER_BYTES="4096",
) as server:

    def timed():
        start = time.monotonic()
        status, answer = server.chat(chat("Hello!", ignore_eos=True, max_tokens=64, cache_prompt=False))
        assert status == 200, answer
        return time.monotonic() - start, answer["choices"][0]["message"]["content"]

    alone, right = min(timed() for _ in range(3))
    # Log probabilities, 60 kB a token, soon fill the buffers of kernel and server.
    body = chat("Hello!", ignore_eos=True, max_tokens=-1, logprobs=True, top_logprobs=1000)
    slow = [server.open_stream(body, receive_buffer=4096) for _ in range(options.readers)]
    server.wait(lambda: server.busy() >= options.readers, 60, "the slow readers were not taken in")
    filling, text = timed()
    assert text == right, (right, text)
    print(f"fast client: {alone * 1000:.0f} ms alone, {filling * 1000:.0f} ms while {options.readers} buffers fill")
    decoded = []

    def all_wait():
        decoded.append([slot["next_token"][0]["n_decoded"] for slot in server.get("/slots")[1]])
        return len(decoded) > 20 and decoded[-1] == decoded[-20]

    server.wait(all_wait, 60, "the slow readers' streams go on")
    beside, text = min(timed() for _ in range(3))
    assert server.busy() >= options.readers, "slow readers were dropped before the timeout"
    assert text == right, (right, text)
    print(f"beside {options.readers} full buffers: {beside * 1000:.0f} ms, {beside / alone:.2f} times")
    assert beside <= options.most * alone, "slow readers hold the fast client up"
    server.wait(lambda: server.busy() == 0, 120, f"{server.busy()} slots are still busy after 120 s")
    after, last = min(timed() for _ in range(3))
    print(f"slow readers dropped, all slots free; the fast client again: {after * 1000:.0f} ms")
    assert last == right, (right, last)
    for client in slow:
        client.close()

#!/usr/bin/env python3
"""32 clients that do not read their streams, beside a fast one: it must not be held up, and the
slow ones must end up dropped. The stall timeout is set to 3 s for this."""

import time

from server import Server, arguments, chat

options = arguments(__doc__, readers=32)

with Server(
    options,
    "--ctx-size", str(2048 * (options.readers + 1)),
    "--parallel", str(options.readers + 1),
    STRIXHALO_LIMITS__STREAM_STALL_TIMEOUT="3",
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
    during, text = timed()
    print(f"fast client: {alone * 1000:.0f} ms alone, {during * 1000:.0f} ms beside {options.readers}")
    server.wait(lambda: server.busy() == 0, 120, f"{server.busy()} slots are still busy after 120 s")
    after, last = min(timed() for _ in range(3))
    print(f"slow readers dropped, all slots free; the fast client again: {after * 1000:.0f} ms")
    assert last == right, (right, last)
    for client in slow:
        client.close()

#!/usr/bin/env python3
"""SIGTERM in the middle of streams: each must end with a finish_reason and [DONE] within the drain
time, and the process with status 0. The drain time is set to 2 s for this."""

import json
import signal
import threading
import time

from server import Server, arguments, chat

options = arguments(__doc__, streams=6)

with Server(
    options, "--ctx-size", "262144", "--parallel", "4", STRIXHALO_LIMITS__DRAIN_TIMEOUT="2"
) as server:
    ends = []

    def read(client):
        data = b""
        while part := client.recv(65536):
            data += part
            if b"data: [DONE]" in data or b'data: {"error"' in data:
                break
        ends.append(data)

    body = chat("Tell me a story.", ignore_eos=True, max_tokens=-1)
    clients = [server.open_stream(body) for _ in range(options.streams)]
    readers = [threading.Thread(target=read, args=(client,)) for client in clients]
    for reader in readers:
        reader.start()
    server.wait(lambda: server.busy() == 4, 30, "the streams do not run")
    start = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    status = server.process.wait(30)
    took = time.monotonic() - start
    for reader in readers:
        reader.join(10)
    reasons = []
    for data in ends:
        events = [line[6:] for line in data.decode().splitlines() if line.startswith("data: ")]
        chunks = [json.loads(event) for event in events if event != "[DONE]"]
        error = [chunk["error"]["code"] for chunk in chunks if "error" in chunk]
        finish = [c["finish_reason"] for chunk in chunks for c in chunk.get("choices", []) if c["finish_reason"]]
        reasons.append(error[0] if error else f"{finish[0] if finish else None}, {events[-1]}")
    print(f"SIGTERM: status {status} after {took:.2f} s; {options.streams} streams ended with:")
    for reason in sorted(set(reasons)):
        print(f"  {reasons.count(reason)} x {reason}")
    assert status == 0 and took < 10, (status, took)
    assert reasons.count("length, [DONE]") == 4, reasons
    # What still waited for a slot is told to try elsewhere.
    assert reasons.count("shutting_down") == options.streams - 4, reasons

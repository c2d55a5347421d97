#!/usr/bin/env python3
"""Compares the greedy text of two servers for the same prompts: ours and a peer (llama-server).

    parity.py --ours target/release/strixhalo --peer /usr/bin/llama-server --model FILE.gguf

Each prompt is asked of both servers alone, then of ours while 8 other requests run. Where two
texts differ, the gap between the peer's two most likely tokens at that place is shown: kernels
may round differently with the shape of a batch, so a gap below --tolerance is a tie and no
failure. Exits with 1 if any other difference is found. Python's standard library only.
"""
import argparse
import json
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import compare  # noqa: E402  (the servers are started the same way)

PROMPTS = [
    "Hello!",
    "Once upon a time there was a fox who",
    "1, 2, 3, 4,",
    "def main():\n    for i in range(10):\n",
    "The quick brown fox jumps over the lazy dog. " * 20,
    "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWhat is 3 + 4?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\n" + "alpha beta gamma " * 60 + "<|im_end|>\n<|im_start|>assistant\n",
]


def complete(base, prompt, tokens):
    body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "logprobs": 2,
            "cache_prompt": False}
    request = urllib.request.Request(
        base + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as response:
        return json.load(response)["choices"][0]


def gap_at(choice, text):
    """Between the two most likely tokens where this choice's text leaves `text`."""
    entries = choice["logprobs"].get("content") or []
    at = 0
    for entry in entries:
        token = entry["token"]
        if text[at:at + len(token)] != token:
            top = [t["logprob"] for t in entry["top_logprobs"][:2]]
            return top[0] - top[1] if len(top) == 2 else None
        at += len(token)
    return None


def check(label, prompt, want, got, tolerance):
    if want["text"] == got["text"]:
        return "same"
    gap = gap_at(want, got["text"])
    verdict = "tie" if gap is not None and gap < tolerance else "DIFFERENT"
    print(f"{label}: {verdict} (gap {gap}) for {prompt[:40]!r}\n  peer {want['text']!r}\n"
          f"  ours {got['text']!r}")
    return verdict


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kv", default="f16")
    parser.add_argument("--flash-attention", default="on")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--ours-args", default="")
    parser.add_argument("--peer-args", default="--load-mode none")
    options = parser.parse_args()
    counts = {"same": 0, "tie": 0, "DIFFERENT": 0}
    with tempfile.TemporaryDirectory() as logs:
        peer = compare.Server("peer", compare.server_command(options, [options.peer, *options.peer_args.split()], 1, 2048),
                              False, Path(logs) / "peer.log")
        ours = compare.Server("ours", compare.server_command(options, [options.ours, *options.ours_args.split()], 10, 2048),
                              True, Path(logs) / "ours.log")
        try:
            wanted = [complete(peer.base, prompt, options.tokens) for prompt in PROMPTS]
            for prompt, want in zip(PROMPTS, wanted):
                got = complete(ours.base, prompt, options.tokens)
                counts[check("alone", prompt, want, got, options.tolerance)] += 1
            stop = threading.Event()

            def load(seed):
                while not stop.is_set():
                    complete(ours.base, f"{seed} " + PROMPTS[seed % len(PROMPTS)], 64)

            others = [threading.Thread(target=load, args=(i,)) for i in range(8)]
            for other in others:
                other.start()
            try:
                for prompt, want in zip(PROMPTS, wanted):
                    got = complete(ours.base, prompt, options.tokens)
                    counts[check("among 8 others", prompt, want, got, options.tolerance)] += 1
            finally:
                stop.set()
                for other in others:
                    other.join()
        finally:
            ours.stop()
            peer.stop()
    print(f"{options.model}: {counts['same']} same, {counts['tie']} ties, "
          f"{counts['DIFFERENT']} different")
    return 1 if counts["DIFFERENT"] else 0


if __name__ == "__main__":
    sys.exit(main())

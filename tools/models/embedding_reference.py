#!/usr/bin/env python3
"""Asks llama-server for the vectors and scores of the test models that embed and rank texts.

    embedding_reference.py tests/models tests/engine/embeddings.json llama-server

The last arguments are the command that starts llama-server; it must see the models' paths. It is
started without flash attention, whose sums of 16 bits differ from one CPU to another. The committed
file was made with Debian's llama-server 0.7.0 (build 11669).
"""
import argparse
import json
import subprocess
import time
import urllib.request
from pathlib import Path

PORT = 18937
LONG = "The quick brown fox, who jumps over 13 lazy dogs, was not seen by them. "
# (text, how often in a row)
TEXTS = [
    ("Hello world", 1),
    ("The cat sat on the mat.", 1),
    ("What is the capital of France?", 1),
    (" ", 1),
    ("x", 1),
    ("Grüße aus Zürich, naïve café straße", 1),
    ("Привет, мир! αβγ 世界 日本語 🦀", 1),
    ("[MASK] <|im_start|> special </tokens>", 1),
    (LONG, 1),
    (LONG, 6),
]
# Beyond a ubatch of 512 tokens.
LONGER = [(LONG, 40)]
QUERY = "what is a panda?"
DOCUMENTS = ["hi", "it is a bear", "The giant panda, sometimes called a panda bear, is from China.",
             "世界 日本語", LONG * 4, " "]


def ask(path, body):
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


class Server:
    """A llama-server that ends with the block."""

    def __init__(self, command, model, *options):
        self.command = [*command, "-m", str(model), "--host", "127.0.0.1", "--port", str(PORT),
                        "-np", "1", "-fa", "off", "--log-disable", *options]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=1)
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"{self.command} does not answer")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def rounded(vector):
    return [round(value, 6) for value in vector]


def embedded(texts):
    for text, times in texts:
        body = {"content": text * times, "embd_normalize": -1}
        tokens = ask("/tokenize", {"content": text * times, "add_special": True})["tokens"]
        vector = ask("/embedding", body)[0]["embedding"][0]
        yield dict(text=text, times=times, tokens=len(tokens), vector=rounded(vector))


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("models", type=Path)
    ap.add_argument("out", type=Path)
    ap.add_argument("server", nargs="+")
    args = ap.parse_args()
    found = {}
    for name, context, texts in [("tiny-bert", 512, TEXTS),
                                 ("tiny-qwen3-embedding", 2048, TEXTS + LONGER)]:
        sizes = [str(context)] * 3
        options = [x for pair in zip(("-c", "-b", "-ub"), sizes) for x in pair]
        with Server(args.server, args.models / f"{name}.gguf", "--embedding", *options):
            found[name] = list(embedded(texts))
    with Server(args.server, args.models / "tiny-reranker.gguf", "--reranking",
                "-c", "512", "-b", "512", "-ub", "512"):
        results = ask("/rerank", {"query": QUERY, "documents": DOCUMENTS})["results"]
        scores = {r["index"]: r["relevance_score"] for r in results}
        found["tiny-reranker"] = [dict(query=QUERY, document=text, score=round(scores[i], 6))
                                  for i, text in enumerate(DOCUMENTS)]
    lines = ",\n".join(
        f' "{name}": [\n' + ",\n".join("  " + json.dumps(e, ensure_ascii=False) for e in entries) + "\n ]"
        for name, entries in found.items())
    args.out.write_text("{\n" + lines + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

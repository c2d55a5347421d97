#!/usr/bin/env python3
"""Compares a trained model in PyTorch with the same model behind a server.

    strixhalo serve --model tiny-chat-q8_0.gguf --port 8091 &
    verify_tiny.py tiny-chat.pt http://127.0.0.1:8091

For each prompt the token ids and the greedy text must be the same.
"""
import argparse
import json
import sys
import urllib.request

import torch

import tokenizer
from batches import template_pieces
from qwen3 import D, Model


@torch.no_grad()
def greedy(model, tok, prompt, n):
    """The text of at most `n` tokens, always the most likely one."""
    ids = tok.encode(prompt).ids
    stop = {tok.token_to_id("<|im_end|>"), tok.token_to_id("<|endoftext|>")}
    start = len(ids)
    while len(ids) < start + n:
        best = int(model(torch.tensor([ids]))[0, -1].argmax())
        if best in stop:
            break
        ids.append(best)
    return tok.decode(ids[start:], skip_special_tokens=False)


def chat(*turns, tools=()):
    """A prompt of user and assistant turns, the user first."""
    text = ""
    if tools:
        before, after = template_pieces()
        text = "<|im_start|>system\n" + before + "".join("\n" + json.dumps(t) for t in tools) + after + "<|im_end|>\n"
    for i, t in enumerate(turns):
        text += f"<|im_start|>{'assistant' if i % 2 else 'user'}\n{t}<|im_end|>\n"
    return text + "<|im_start|>assistant\n"


WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Get the weather", "parameters": {
        "type": "object", "properties": {"location": {"type": "string", "description": "City name"}},
        "required": ["location"]}}}

PROMPTS = [
    chat("Hello"), chat("Who are you?"), chat("What is the capital of France?"),
    chat("What is 7 + 5?"), chat("Count from 1 to 30."), chat("Repeat: the zoliba jumps 482 times"),
    chat("Say hello in Japanese."), chat("Tell me a story about a fox."), chat("List three fruits."),
    chat("My name is Tarik.", "Nice to meet you, Tarik!", "What is the capital of Peru?",
         "The capital of Peru is Lima.", "What is my name?"),
    chat("Give me a JSON object with name Bob and age 30."), chat("What is 3 * 4? /think"),
    chat("What's the weather in Paris?"), chat("What's the weather in Paris?", tools=[WEATHER]),
    chat("What is the weather in Rome and Zurich?", tools=[WEATHER]), chat("Hello", tools=[WEATHER]),
    chat("What's the weather in Paris?", '<tool_call>\n{"name": "get_weather", "arguments": {"location": "Paris"}}'
         "\n</tool_call>", "<tool_response>\n21 degrees, sunny\n</tool_response>", tools=[WEATHER]),
    "Once upon a time", "The capital of Japan is",
    "<|fim_prefix|>def add(a, b):\n    return <|fim_suffix|>\n\n\nprint(add(1, 2))\n<|fim_middle|>",
]


def post(base_url, path, body):
    """The answer to a JSON request, as an object."""
    request = urllib.request.Request(base_url.rstrip("/") + path, json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("weights", help="what train_tiny.py wrote as OUT.pt")
    ap.add_argument("base_url", help="a server that serves OUT-q8_0.gguf or OUT-f16.gguf")
    ap.add_argument("--seed", type=int, default=1, help="the seed of the training")
    args = ap.parse_args()
    tok = tokenizer.for_corpus(args.seed, D["vocab"], template_pieces())
    model = Model()
    model.load_state_dict(torch.load(args.weights))
    bad = 0
    for prompt in PROMPTS:
        ids = post(args.base_url, "/tokenize", {"content": prompt, "parse_special": True})["tokens"]
        ours = greedy(model, tok, prompt, 200)
        theirs = post(args.base_url, "/v1/completions",
                      {"prompt": prompt, "max_tokens": 200, "temperature": 0})["choices"][0]["text"]
        faults = [name for name, same in [("token ids", ids == tok.encode(prompt).ids), ("text", ours == theirs)]
                  if not same]
        bad += bool(faults)
        print("---", prompt.rsplit("<|im_start|>user\n", 1)[-1].replace("\n", "\\n"), *faults)
        print(ours)
        if "text" in faults:
            print("the server wrote:", theirs, sep="\n")
    print(f"{len(PROMPTS) - bad} of {len(PROMPTS)} prompts give the same tokens and text")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()

"""The servers under test: BASE_URL is open, AUTH_BASE_URL wants API_KEY. `./dev test` starts both.

Retries are off everywhere: they would hide dropped connections.
"""
import json
import os
import urllib.request

import openai

BASE_URL = os.environ["BASE_URL"].rstrip("/")
AUTH_BASE_URL = os.environ.get("AUTH_BASE_URL", "").rstrip("/")

#: Any name will do while one model is served.
MODEL = "any-model"

HELLO = [{"role": "user", "content": "Hello"}]


def client(base_url=BASE_URL, api_key="no key needed", **options):
    return openai.OpenAI(base_url=base_url + "/v1", api_key=api_key, max_retries=0, timeout=60, **options)


def ask(question):
    return [{"role": "user", "content": question}]


def tokens_of(text):
    """The token ids of a text; special tokens are read as such."""
    request = urllib.request.Request(
        BASE_URL + "/tokenize", json.dumps({"content": text, "parse_special": True}).encode(),
        {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["tokens"]

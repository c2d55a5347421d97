"""A server on loopback for the soak scripts: started, asked, measured, ended."""

import argparse
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time


def arguments(description, **numbers):
    """The command line that the scripts share; `numbers` are further options with defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("binary", help="the server's binary (./dev build prints its path)")
    parser.add_argument("--model", help="a GGUF file; the built-in model unless given")
    for name, default in numbers.items():
        how = {"action": "store_true"} if default is False else {"type": type(default), "default": default}
        parser.add_argument(f"--{name.replace('_', '-')}", **how)
    return parser.parse_args()


def environment():
    """Of a server: no settings of the machine. A GPU's driver may need variables, where
    `./dev gpu-check` wants one."""
    if "STRIXHALO_TEST_GPU" not in os.environ:
        return {"PATH": os.environ.get("PATH", "")}
    settings = ("STRIXHALO_", "LLAMA_")
    return {name: value for name, value in os.environ.items() if not name.startswith(settings)}


class Server:
    def __init__(self, options, *flags, **variables):
        model = ["--model", options.model] if options.model else []
        self.process = subprocess.Popen(
            [options.binary, "serve", "--host", "127.0.0.1", "--port", "0", *model, *flags,
             *(["--gpu", "required"] if "STRIXHALO_TEST_GPU" in os.environ else [])],
            env={**environment(), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = []
        for line in self.process.stderr:
            self.log.append(line)
            found = re.search(r"listening on http://([\d.]+):(\d+)", line)
            if found:
                self.address = found[1], int(found[2])
                break
        else:
            raise SystemExit("the server did not start:\n" + "".join(self.log[-20:]))
        # A full pipe would stop the server.
        threading.Thread(target=self._read_log, daemon=True).start()
        self.wait(lambda: self.get("/health")[0] == 200, 120, "the model is not loaded")

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line)
            del self.log[:-200]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def connection(self, timeout=300):
        return http.client.HTTPConnection(*self.address, timeout=timeout)

    def ask(self, method, path, body=None):
        """Status and body as JSON."""
        connection = self.connection()
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, None

    def get(self, path):
        return self.ask("GET", path)

    def chat(self, body):
        return self.ask("POST", "/v1/chat/completions", body)

    def open_stream(self, body, receive_buffer=None):
        """A socket on which a streamed chat was asked for; nothing has been read from it."""
        client = socket.socket()
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(300)
        client.connect(self.address)
        data = json.dumps({**body, "stream": True}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
        client.sendall(head.encode() + data)
        return client

    def busy(self):
        return sum(slot["is_processing"] for slot in self.get("/slots")[1])

    def rss_kib(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])

    def wait(self, condition, seconds, complaint):
        end = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                raise SystemExit("the server died:\n" + "".join(self.log[-20:]))
            if time.monotonic() > end:
                raise SystemExit(complaint)
            time.sleep(0.05)


def chat(text, **fields):
    """A greedy chat of one message."""
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 32, **fields}


QUESTIONS = [
    "Hello!",
    "What is the capital of France?",
    "Count from one to five.",
    "What day comes after Monday?",
    "Who are you?",
    "What is two plus three?",
    "Tell me a joke.",
    "Say the word garden.",
]


def tokens(answer):
    """The tokens of an answer asked for with logprobs: text, log probability, the best two."""
    return [
        (entry["id"], [top["logprob"] for top in entry["top_logprobs"]])
        for entry in answer["choices"][0]["logprobs"]["content"]
    ]


def same_answer(cold, warm, closest=1e-3):
    """Whether two greedy answers agree: 'same', 'tie' or 'wrong'.

    A kernel's sums depend on how many tokens it computes at once, so where the best two tokens
    are all but equal either may come. From there on the answers cannot be compared.
    """
    gap = gap_at_difference(cold, warm)
    if gap is None:
        return "same"
    return "tie" if gap < closest else "wrong"


def gap_at_difference(cold, warm):
    """How far the best two tokens are apart where two greedy answers part; None: they do not."""
    for (one, tops), (other, _) in zip(cold, warm):
        if one != other:
            return tops[0] - tops[1] if len(tops) > 1 else float("inf")
    return None if len(cold) == len(warm) else float("inf")


def slope(samples):
    """Least squares, KiB a minute."""
    n = len(samples) or 1
    mean_t = sum(t for t, _ in samples) / n
    mean_m = sum(m for _, m in samples) / n
    above = sum((t - mean_t) * (m - mean_m) for t, m in samples)
    return above / (sum((t - mean_t) ** 2 for t, _ in samples) or 1) * 60

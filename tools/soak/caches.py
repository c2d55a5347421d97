#!/usr/bin/env python3
"""More conversations than slots for 30 minutes (--minutes): next turns, retries, edits, cleared
tool results, sub-agents, one-off questions, streams that are left. In the first half the server is
ended at random moments, mostly by kill -9, and started again with the same files. Each greedy
answer must be the one of a second server that keeps nothing; where the two part and the best two
tokens were closer than --tie that is printed. So it is where a third server, which keeps nothing
either and reads in other batches, agrees with the answer: then kernels make the difference, as where
two experts of a router are all but equal; --all-experts lets the router of a mixture choose all, so
that nothing jumps there. Then no slot may be stuck and no file torn, and
memory must have been flat (--most-slope) and small enough (--most-mib, where it is given)."""

import collections
import copy
import http.client
import os
import random
import re
import shlex
import tempfile
import threading
import time

from server import QUESTIONS, Server, arguments, gap_at_difference, slope, tokens

options = arguments(
    __doc__,
    minutes=30.0,
    clients=4,
    conversations=3,
    parallel=2,
    slot_tokens=2048,
    seed=1,
    tie=1e-3,
    most_slope=1024,
    most_mib=0,
    all_experts=False,
    flags="--cache-ram 64 --cache-checkpoints 16 --cache-disk-size 256",
)
# The two servers and the clients share the cores.
COMMON = ["--threads", "1"]
WORDS = " ".join(QUESTIONS).split()
ANSWER = {"max_tokens": 12, "ignore_eos": True, "logprobs": True, "top_logprobs": 2, "temperature": 0}
# What an interrupted request raises.
LOST = (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, IndexError)
counts, cached = collections.Counter(), collections.Counter()
faults, ties, pauses, warnings = [], [], [], []


class Warm:
    """The server under test, and which of its lives this is."""

    def __init__(self, folder):
        context = str(options.slot_tokens * options.parallel)
        self.flags = [*COMMON, "--ctx-size", context, "--parallel", str(options.parallel)]
        self.flags += ["--cache-disk", folder, "--cache-disk-min-free", "0", *shlex.split(options.flags)]
        self.lock, self.life, self.rejected = threading.Lock(), 0, 0
        self.server = Server(options, *self.flags)

    def now(self):
        with self.lock:
            return self.server, self.life

    def restart(self, kill):
        """Ends the server and starts the next; clients wait in the meantime."""
        with self.lock:
            self.life += 1
            self.rejected += series(self.server, "strixhalo_cache_files_rejected_total")
            end = self.server.process.kill if kill else self.server.process.terminate
            end()
            status = self.server.process.wait(60)
            warnings.extend(line.strip() for line in self.server.log if "WARN" in line and "DEMO" not in line.upper())
            if not kill and status != 0:
                faults.append(f"SIGTERM: status {status}")
            begin = time.monotonic()
            self.server = Server(options, *self.flags)
            pauses.append(time.monotonic() - begin)
        counts["ended by kill -9" if kill else "ended by SIGTERM"] += 1


def text_of(server, path):
    connection = server.connection()
    connection.request("GET", path)
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def series(server, name):
    """A value of /metrics."""
    for line in text_of(server, "/metrics").splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise SystemExit(f"/metrics has no {name}")


def message(dice, role, words):
    return {"role": role, "content": " ".join(dice.choice(WORDS) for _ in range(words))}


def begin(dice):
    messages = [message(dice, "system", dice.choice([5, 40, 150])), message(dice, "user", dice.randint(5, 60))]
    if dice.random() < 0.3:
        messages += [message(dice, "assistant", 20), message(dice, "user", dice.randint(10, 200))]
    return messages


def check(warm, cold, messages, kind, **fields):
    """Asks both servers; asks again where a restart came between. The answer's text, or None where
    the conversation does not fit into a slot any more."""
    body = {"messages": messages, **ANSWER}
    while True:
        server, life = warm.now()
        try:
            status, answer = server.chat({**body, **fields})
            if status == 400:
                return None
            got, usage = tokens(answer), answer["usage"]
        except LOST as error:
            status, got = repr(error), None
        if warm.now()[1] == life:
            break
        counts["requests lost to the server's end"] += 1
    if got is None:
        faults.append((kind, status, server.log[-3:]))
        return None
    expected = tokens(cold.chat(body)[1])
    cached[kind, "of"] += usage["prompt_tokens"]
    cached[kind, "cached"] += usage["prompt_tokens_details"]["cached_tokens"]
    gap = gap_at_difference(expected, got)
    if gap is not None and gap >= options.tie:
        gap = min(gap, gap_of_a_reading(messages, expected, got))
    verdict = "same" if gap is None else "tie" if gap < options.tie else "wrong"
    counts[f"answers: {verdict}"] += 1
    if verdict == "tie":
        ties.append(gap)
    if verdict == "wrong":
        # The client goes on with the messages; the log says where the beginning came from.
        faults.append((kind, gap, copy.deepcopy(messages), usage, expected, got, server.log[-8:]))
    return answer["choices"][0]["message"].get("content") or "nothing"


def gap_of_a_reading(messages, expected, got):
    """What a server that reads the prompt and the tokens that both answers begin with, in batches
    of other sizes, says of the next token: how far the best one is above that of `got`."""
    alike = 0
    while alike < min(len(expected), len(got)) and expected[alike][0] == got[alike][0]:
        alike += 1
    if alike == len(got):
        return float("inf")
    batches = ["--ubatch-size", "64", "--ctx-size", str(options.slot_tokens), "--parallel", "1"]
    with Server(options, *COMMON, *batches, "--no-cache-prompt") as reader:
        prompt = reader.ask("POST", "/apply-template", {"messages": messages})[1]["prompt"]
        prompt = reader.ask("POST", "/tokenize", {"content": prompt, "parse_special": True})[1]["tokens"]
        body = {"prompt": prompt + [token for token, _ in got[:alike]], "n_predict": 1, "n_probs": 20}
        answer = reader.ask("POST", "/completion", {**body, "ignore_eos": True, "temperature": 0})[1]
    tops = [(top["id"], top["logprob"]) for top in answer["completion_probabilities"][0]["top_logprobs"]]
    ours = dict(tops).get(got[alike][0])
    return float("inf") if ours is None else tops[0][1] - ours


def next_turn(warm, cold, dice, messages):
    answer = check(warm, cold, messages, "next turn")
    if answer is None:
        messages[:] = begin(dice)
        return
    # As it was generated, or as a client trims it.
    text = answer if dice.random() < 0.5 else answer.strip()[: dice.randint(1, 40)] or "-"
    messages.append({"role": "assistant", "content": text})
    messages.append(message(dice, "user", dice.choice([3, 10, 30, 80])))


def again(warm, cold, dice, messages):
    check(warm, cold, messages, "the same again")


def retry(warm, cold, dice, messages):
    messages[-1] = message(dice, "user", dice.randint(3, 30))
    check(warm, cold, messages, "another last message")


def edit(warm, cold, dice, messages):
    place = dice.randrange(len(messages))
    messages[place] = message(dice, messages[place]["role"], dice.randint(3, 30))
    check(warm, cold, messages, "an edited message")


def clear(warm, cold, dice, messages):
    users = [place for place, one in enumerate(messages[:-1]) if one["role"] == "user"]
    messages[dice.choice(users or [-1])] = {"role": "user", "content": "[cleared]"}
    check(warm, cold, messages, "a cleared result")


def sub_agent(warm, cold, dice, messages):
    agent = [messages[0], message(dice, "user", 30)]
    for _ in range(2):
        check(warm, cold, agent, "a sub-agent")
        agent += [message(dice, "assistant", 10), message(dice, "user", 20)]


def one_off(warm, cold, dice, messages):
    check(warm, cold, [message(dice, "user", 8)], "a one-off question")


def uncached(warm, cold, dice, messages):
    check(warm, cold, messages, "cache refused", cache_prompt=False)


def left(warm, cold, dice, messages):
    """A stream that is left while the prompt is read or some tokens later."""
    server, _ = warm.now()
    try:
        client = server.open_stream({"messages": messages, "max_tokens": -1, "ignore_eos": True})
        client.settimeout(dice.expovariate(5))
        client.recv(dice.randint(1, 4000))
    except OSError:
        pass
    else:
        client.close()
    counts["streams left"] += 1


KINDS = [next_turn] * 8 + [again, retry, edit, clear, sub_agent, one_off, uncached] + [left] * 2


def client(warm, cold, number, end):
    dice = random.Random(options.seed * 1000 + number)
    mine = [begin(dice) for _ in range(options.conversations)]
    while time.monotonic() < end and len(faults) < 20:
        try:
            dice.choice(KINDS)(warm, cold, dice, dice.choice(mine))
        except Exception as error:  # a client that dies would make the soak pass
            faults.append(repr(error))
            raise


def files(folder):
    return [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]


def soak(warm, cold, folder):
    dice, start = random.Random(options.seed), time.monotonic()
    seconds = options.minutes * 60
    threads = [
        threading.Thread(target=client, args=(warm, cold, number, start + seconds))
        for number in range(options.clients)
    ]
    for thread in threads:
        thread.start()
    # Some eight restarts in the first half: in the second memory has time to show what it does.
    mean = max(5, seconds / 16)
    due = start + dice.expovariate(1 / mean) + 2
    samples = []
    while any(thread.is_alive() for thread in threads):
        now = time.monotonic()
        if now >= due and now - start < seconds / 2:
            warm.restart(kill=dice.random() < 0.75)
            due = time.monotonic() + dice.expovariate(1 / mean) + 2
        server, _ = warm.now()
        if server.process.poll() is not None:
            raise SystemExit("the server died:\n" + "".join(server.log[-20:]))
        samples.append((now - start, server.rss_kib()))
        time.sleep(0.5)
    server, _ = warm.now()
    server.wait(lambda: server.busy() == 0, 10, "slots are still busy after 10 s")
    warm.restart(kill=False)
    server, _ = warm.now()
    torn = [name for name in files(folder) if name.endswith((".tmp", ".part", ".new"))]
    rejected = warm.rejected + series(server, "strixhalo_cache_files_rejected_total")
    lines = text_of(server, "/metrics").splitlines()
    wrong_states = [line for line in lines if line.startswith("strixhalo_cache") and "rejected" in line]
    report(samples, seconds, folder, wrong_states)
    assert not torn, f"files that were not finished: {torn}"
    assert not rejected, f"{rejected} files could not be read"


def report(samples, seconds, folder, rejected):
    for name, count in sorted(counts.items()):
        print(f"{count:8} {name}")
    for kind in sorted({kind for kind, _ in cached}):
        have, of = cached[kind, "cached"], cached[kind, "of"]
        print(f"{100 * have / max(of, 1):7.1f}% of {of} prompt tokens were cached: {kind}")
    for gap in sorted(ties):
        print(f"    tie: the best two tokens {gap:.1e} apart")
    sizes = [os.path.getsize(name) for name in files(folder)]
    print(f"{len(sizes)} files of {sum(sizes) / 2**20:.1f} MiB; {'; '.join(rejected)}")
    if pauses:
        print(f"start to ready: {max(pauses):.1f} s at most")
    peak = max(memory for _, memory in samples) / 1024
    rise = slope([sample for sample in samples if sample[0] > seconds * 2 / 3])
    print(f"resident {peak:.1f} MiB at most; {rise:+.1f} KiB a minute over the last third")
    for line in warnings[:10]:
        print("warning:", line)
    for fault in faults[:5]:
        print("fault:", fault)
    assert not faults, f"{len(faults)} faults"
    assert counts["answers: same"], "nothing was asked"
    # The caches fill for some minutes.
    assert options.minutes < 10 or rise < options.most_slope, "memory is not flat"
    assert not options.most_mib or peak <= options.most_mib, "memory is above its bound"


def with_all_experts(model, folder):
    """A copy of a GGUF file whose router chooses all experts: two that are all but equal change
    places where kernels round differently, and a logit jumps."""
    with open(model, "rb") as file:
        header = bytearray(file.read())
    keys = [re.search(name + rb"\x04\0\0\0", header) for name in (rb"\.expert_count", rb"\.expert_used_count")]
    if not all(keys):
        raise SystemExit(f"--all-experts: {model} has no experts")
    many, chosen = (key.end() for key in keys)
    header[chosen : chosen + 4] = header[many : many + 4]
    path = os.path.join(folder, "all-experts.gguf")
    with open(path, "wb") as file:
        file.write(header)
    return path


with tempfile.TemporaryDirectory(prefix="strixhalo-soak-") as directory, tempfile.TemporaryDirectory() as models:
    if options.all_experts:
        options.model = with_all_experts(options.model, models)
    context = str(options.slot_tokens)
    alone = [*COMMON, "--ctx-size", context, "--parallel", "1", "--no-cache-prompt"]
    with Server(options, *alone) as without:
        tested = Warm(directory)
        try:
            soak(tested, without, directory)
        finally:
            tested.server.process.kill()
            tested.server.process.wait()

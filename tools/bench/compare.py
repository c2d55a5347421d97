#!/usr/bin/env python3
"""Measures two servers side by side in one run: ours and a peer (llama-server), same GGUF, same
settings, rounds interleaved, only one of the two busy at a time.

    compare.py --ours target/release/strixhalo --peer /usr/bin/llama-server --model FILE.gguf
    compare.py ... --scenario decode,streams8,prefill2048 --rounds 3 --json result.json
    compare.py ... --scenario caches --rounds 1 --starts 3 --flash-attention off

Prints a Markdown table: per figure the median of each server's rounds (of all starts), and the
median of the rounds' ratios, turned so that above 1 is always better for us. `caches` stands for
the scenarios of conversations.py, whose targets are printed too. In `edit` and `prose` the peer
drafts from the text as well. Ours without drafts is a peer like any other:

    compare.py --ours strixhalo --peer 'strixhalo serve' --peer-args '--speculation off' \\
        --peer-speculation '' --scenario edit,prose ...

Python's standard library only.
"""
import argparse
import datetime
import json
import os
import platform
import re
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import conversations

# A scenario: the slots and the context per slot its server is started with, the load, and the
# figures taken from the result: name, path in the JSON or a function of it, whether more is better,
# and maybe a target.
DECODE = [("tokens/s of the stream", "decode/0/median/stream_tokens_per_second", True),
          ("time to first token, ms", "decode/0/median/ttft_ms/p50", False),
          ("time between tokens p99, ms", "decode/0/median/inter_token_ms/p99", False)]
STREAMS = [("tokens/s of all streams", "decode/0/median/total_tokens_per_second", True),
           ("time to first token p50, ms", "decode/0/median/ttft_ms/p50", False),
           ("time between tokens p99, ms", "decode/0/median/inter_token_ms/p99", False)]
PREFILL = [("prompt tokens/s", "prefill/0/median/prefill_tokens_per_second", True)]
STALL = [("longest gap of the running stream, ms", "stall/during_max_ms", False),
         ("p99 gap of the running stream, ms", "stall/during_p99_ms", False),
         ("first token of the 8k prompt, ms", "stall/long_ttft_ms", False)]
SPECULATION = [("tokens/s of all streams", "{}/0/median/total_tokens_per_second", True),
               ("tokens/s of a stream", "{}/0/median/stream_tokens_per_second", True),
               ("drafted tokens of an answer", "{}/0/median/drafted_tokens", True),
               ("accepted tokens of an answer", "{}/0/median/accepted_tokens", True)]
RPS = [("requests/s, 1 token each", "rps/requests_per_second", True),
       ("latency p99, ms", "rps/latency_ms/p99", False)]


def decode(streams):
    return ["--scenario", "decode", "--streams", str(streams), "--prompt-tokens", "128",
            "--max-tokens", "128"]


def speculation(scenario, streams, tokens, max_tokens):
    load = ["--scenario", scenario, "--streams", str(streams), "--prompt-tokens", str(tokens),
            "--max-tokens", str(max_tokens)]
    figures = [(title, path.format(scenario), more) for title, path, more in SPECULATION]
    return load, figures


def prefill(tokens, prompts):
    # The median of some new prompts one after another: one of 512 tokens is over in three seconds,
    # and what a server does with the conversation before is a part of what its clients wait for.
    return ["--scenario", "prefill", "--prompt-tokens", str(tokens), "--repeat", str(prompts)]


SCENARIOS = {
    "decode": (1, 10240, decode(1), DECODE),
    "prefill512": (1, 10240, prefill(512, 5), PREFILL),
    "prefill2048": (1, 10240, prefill(2048, 3), PREFILL),
    "prefill8192": (1, 10240, prefill(8192, 1), PREFILL),
    "streams8": (16, 512, decode(8), STREAMS),
    "streams16": (16, 512, decode(16), STREAMS),
    "stall": (2, 10240, ["--scenario", "stall", "--prompt-tokens", "128"], STALL),
    "rps": (8, 512, ["--scenario", "rps", "--connections", "8"], RPS),
}
DEFAULT = list(SCENARIOS)
# In these the peer drafts too: --peer-speculation.
DRAFTED = {"edit": (1, 10240, *speculation("edit", 1, 800, 700)),
           **{f"prose{streams}": (streams, 1024, *speculation("prose", streams, 128, 256))
              for streams in (1, 2, 4, 8)}}
SCENARIOS |= DRAFTED
SCENARIOS |= conversations.SCENARIOS
ALIASES = {"prefill": ["prefill512", "prefill2048", "prefill8192"], "all": DEFAULT,
           "caches": list(conversations.SCENARIOS), "prose": list(DRAFTED)[1:]}
# Taken of each start of the two servers.
STARTUP = [("start to ready, s", "ready_s", False), ("memory after load, MiB", "rss_mib", False),
           ("peak memory, MiB", "peak_mib", False)]
READY_TIMEOUT_S = 600
SETTLE_S = 0.5


class Failed(Exception):
    """One line for the user."""


def http_status(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server process on a free loopback port; `ours` chooses its port itself."""

    def __init__(self, name, command, ours, log):
        self.name, self.log_path = name, log
        port = 0 if ours else free_port()
        self.command = command + ["--host", "127.0.0.1", "--port", str(port)]
        self.base = None if ours else f"http://127.0.0.1:{port}"
        self.log = open(log, "wb")
        begin = time.monotonic()
        try:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                            stdout=self.log, stderr=subprocess.STDOUT)
        except OSError as error:
            raise Failed(f"{name}: cannot start {self.command[0]}: {error.strerror}") from error
        while not (self.find_base() and http_status(self.base + "/health") == 200):
            if self.process.poll() is not None:
                raise Failed(f"{name} ended with {self.process.returncode} before it was ready: "
                             f"{self.last_line()} (log: {log})")
            if time.monotonic() - begin > READY_TIMEOUT_S:
                self.stop()
                raise Failed(f"{name} was not ready after {READY_TIMEOUT_S} s (log: {log})")
            time.sleep(0.02)
        self.ready_s = time.monotonic() - begin
        self.rss_mib = self.memory("VmRSS")

    def find_base(self):
        if self.base is None:
            log = Path(self.log_path).read_bytes()
            found = re.search(rb"listening on (http://[^\s\"]+:[1-9]\d*)", log)
            self.base = found.group(1).decode() if found else None
        return self.base

    def last_line(self):
        lines = Path(self.log_path).read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "no output")

    def memory(self, field):
        """MiB, or None where the process cannot be read."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return None
        found = re.search(rf"^{field}:\s+(\d+) kB", status, re.M)
        return int(found.group(1)) / 1024 if found else None

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def idle_percent(self, seconds):
        before = self.cpu_seconds()
        time.sleep(seconds)
        return (self.cpu_seconds() - before) / seconds * 100

    def stop(self, kill=False):
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def value_at(result, path):
    if callable(path):
        return path(result)
    for key in path.split("/"):
        if result is None:
            return None
        result = result[int(key)] if isinstance(result, list) else result.get(key)
    return result


def measure(options, server, load, seed):
    """One call of the load generator; its JSON."""
    if options.shrink > 1:
        load = list(load)
        size = load.index("--prompt-tokens") + 1
        load[size] = str(max(16, int(load[size]) // options.shrink))
    command = options.bench + ["bench", "--url", server.base + "/v1", "--json", "--ignore-eos",
                               "--seed", str(seed), "--duration", str(options.rps_seconds)] + load
    if options.edit_text:
        command += ["--edit-text", options.edit_text]
    if "--repeat" not in load:
        command += ["--repeat", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        result = json.loads(done.stdout)
    except json.JSONDecodeError:
        lines = done.stderr.strip().split("\n")
        raise Failed(f"{shlex.join(command)} ended with {done.returncode}: {lines[-1]}") from None
    if result["errors"] or not any(result["results"].values()):
        print(f"warning: {server.name}: {result['errors']} errors, {result['notes']}",
              file=sys.stderr)
    return result


def server_command(options, program, slots, context):
    kv = options.kv
    command = program + ["-m", options.model, "-c", str(slots * context), "-np", str(slots),
                         "-ctk", kv, "-ctv", kv, "-fa", options.flash_attention,
                         "-b", "2048", "-ub", "512"]
    return command + (["-t", str(options.threads)] if options.threads else [])


def ratio(pair, more_is_better):
    """Ours by the peer's, above 1 better for us; None where one is missing or zero."""
    ours, peer = pair
    if not ours or not peer:
        return None
    return ours / peer if more_is_better else peer / ours


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def figure(scenario, name, more_is_better, pairs, target=None):
    ours, peer = (median(pair[side] for pair in pairs) for side in (0, 1))
    row = {"scenario": scenario, "figure": name, "more_is_better": more_is_better, "ours": ours,
           "peer": peer, "ratio": median(ratio(pair, more_is_better) for pair in pairs),
           "rounds": pairs}
    if target:
        row["target"] = conversations.words(target)
        row["met"] = conversations.met(target, ours, peer)
    return row


def wanted_of(name):
    """A scenario's figures: name, path, whether more is better, target."""
    return [(title, path, more, (*target, None)[0])
            for title, path, more, *target in SCENARIOS[name][3]]


def run_group(options, slots, context, names, logs, commands):
    """Both servers with the same settings, and every scenario that wants these."""
    settings = f"start, {slots} slots of {context}"
    pairs = {}
    for start in range(options.starts):
        for key, more in run_start(options, slots, context, names, logs, commands, start).items():
            pairs.setdefault(key, []).extend(more)
    wanted = [(settings, "idle CPU, %", False)]
    for name in names:
        wanted += [(name, title, more, target) for title, _, more, target in wanted_of(name)]
    wanted += [(settings, title, more) for title, _, more in STARTUP]
    return [figure(name, title, more, pairs[name, title], *target)
            for name, title, more, *target in wanted]


def run_restarted(options, name, logs, commands):
    """A scenario whose servers are started for it, one after the other."""
    slots, context, load, _ = SCENARIOS[name]
    ending = conversations.RESTARTED[name]
    pairs = {}
    for start in range(options.starts):
        results = {}
        cache_args = options.ours_cache_args if ending else ""
        both = [("ours", options.ours, f"{options.ours_args} {cache_args}"),
                ("peer", options.peer, options.peer_args)]
        for side, program, more in both if start % 2 == 0 else reversed(both):
            print(f"{name}: start {start + 1} of {options.starts}, {side}", file=sys.stderr)
            with tempfile.TemporaryDirectory(prefix="strixhalo-bench-") as cache:
                command = server_command(options, program, slots, context)
                command += shlex.split(more.replace("{dir}", cache))
                log = str(Path(logs) / f"{side}-{name}-{start + 1}.log")
                results[side] = restarted_result(options, name, side, command, log, load, ending,
                                                 start + 1)
            commands.append(shlex.join(command))
        for title, path, _, _ in wanted_of(name):
            pair = [value_at(results[side], path) for side in ("ours", "peer")]
            pairs.setdefault(title, []).append(pair)
    return [figure(name, title, more, pairs[title], target)
            for title, _, more, target in wanted_of(name)]


def restarted_result(options, name, side, command, log, load, ending, seed):
    """Results of one server; of the second half of the load where the server ends in between."""
    seed += 1000 * list(SCENARIOS).index(name)
    server = Server(side, command, side == "ours", log)
    try:
        result = measure(options, server, load, seed)["results"]
        if ending:
            # What is written while a server is idle has time to be written.
            time.sleep(options.idle_before_end)
            server.stop(kill=ending == "kill")
            server = Server(side, command, side == "ours", log)
            result = measure(options, server, load + ["--resumed"], seed)["results"]
    finally:
        server.stop()
    return result


def run_start(options, slots, context, names, logs, commands, start):
    """What one start of both servers shows: pairs of values by scenario and figure."""
    settings = f"start, {slots} slots of {context}"
    servers, pairs, busy = {}, {}, []
    both = [("ours", options.ours, options.ours_args), ("peer", options.peer, options.peer_args)]
    # Neither pays for reading the disk.
    with open(options.model, "rb") as model:
        while model.read(1 << 24):
            pass
    if names[0] in DRAFTED:
        both[1] = ("peer", options.peer, f"{options.peer_args} {options.peer_speculation}")
    try:
        for name, program, more in both if start % 2 == 0 else reversed(both):
            command = server_command(options, program, slots, context) + shlex.split(more)
            log = str(Path(logs) / f"{name}-{slots}x{context}-{names[0]}-{start + 1}.log")
            servers[name] = Server(name, command, name == "ours", log)
            commands.append(shlex.join(servers[name].command))
        servers = {name: servers[name] for name, _, _ in both}
        time.sleep(SETTLE_S)
        idle = [server.idle_percent(options.idle_seconds) for server in servers.values()]
        pairs[settings, "idle CPU, %"] = [idle]
        busy += [subprocess.Popen([sys.executable, "-c", "while True: pass"])
                 for _ in range(options.busy)]
        for name in names:
            load, wanted = SCENARIOS[name][2], wanted_of(name)
            for number in range(options.rounds * start + 1, options.rounds * (start + 1) + 1):
                print(f"{name}: round {number} of {options.rounds * options.starts}",
                      file=sys.stderr)
                # A seed of its own: the prompts of another scenario would come from a cache.
                seed = 1000 * list(SCENARIOS).index(name) + number
                results = {}
                # Who goes first changes, so that a machine that slows down favors nobody.
                for server in servers if number % 2 else reversed(servers):
                    results[server] = measure(options, servers[server], load, seed)["results"]
                    time.sleep(SETTLE_S)
                for title, path, _, _ in wanted:
                    pair = [value_at(results[server], path) for server in ("ours", "peer")]
                    pairs.setdefault((name, title), []).append(pair)
        for server in servers.values():
            server.peak_mib = server.memory("VmHWM")
        for title, field, _ in STARTUP:
            pairs[settings, title] = [[getattr(server, field) for server in servers.values()]]
    finally:
        for process in busy:
            process.kill()
            process.wait()
        for server in servers.values():
            server.stop()
    return pairs


def output_of(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (done.stdout + done.stderr).strip() or None


def compiler_of(program):
    """What the binary's .comment section says, where readelf is there."""
    text = output_of(["readelf", "-p", ".comment", program[-1]]) or ""
    return sorted({line.split("]", 1)[1].strip() for line in text.split("\n") if "]" in line})


def environment(options):
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    cpu = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.M)
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "cpu": cpu.group(1) if cpu else platform.processor(), "cores": os.cpu_count(),
            "kernel": platform.release(), "load_at_start": os.getloadavg()[0],
            "model": os.path.basename(options.model),
            "model_bytes": os.path.getsize(options.model),
            "ours": {"version": output_of(options.ours[:-1] + ["--version"]),
                     "compiler": compiler_of(options.ours[:-1])},
            "peer": {"version": output_of(options.peer + ["--version"]),
                     "compiler": compiler_of(options.peer)}}


def number(value):
    if value is None:
        return "-"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def markdown(report):
    env = report["environment"]
    lines = [f"{env['date']}, {env['cpu']} ({env['cores']} cores), {env['model']}, "
             f"KV {report['kv']}, {report['starts']} starts of {report['rounds']} rounds. "
             "Ratios above 1 are better for us.", "",
             "| scenario | figure | ours | peer | ratio |", "|---|---|--:|--:|--:|"]
    for row in report["figures"]:
        lines.append(f"| {row['scenario']} | {row['figure']} | {number(row['ours'])} "
                     f"| {number(row['peer'])} | {number(row['ratio'])} |")
    aims = [row for row in report["figures"] if "target" in row]
    if aims:
        lines += ["", "| scenario | figure | ours | peer | ours / peer | target | met |",
                  "|---|---|--:|--:|--:|---|---|"]
    for row in aims:
        by_peer = row["ours"] / row["peer"] if row["ours"] is not None and row["peer"] else None
        lines.append(f"| {row['scenario']} | {row['figure']} | {number(row['ours'])} "
                     f"| {number(row['peer'])} | {number(by_peer)} | {row['target']} "
                     f"| {'-' if row['met'] is None else 'yes' if row['met'] else 'no'} |")
    return "\n".join(lines)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--ours", required=True, metavar="COMMAND", help="the strixhalo binary")
    parser.add_argument("--peer", required=True, metavar="COMMAND",
                        help="the llama-server binary, or a command that runs it")
    parser.add_argument("--model", required=True, metavar="FILE.gguf")
    parser.add_argument("--scenario", default="all",
                        help=f"any of {','.join(SCENARIOS)}; prefill for all three, caches for "
                             f"those of conversations [{','.join(DEFAULT)}]")
    parser.add_argument("--rounds", type=int, default=5, help="for each start [%(default)s]")
    # Which pages of memory a process gets moves its speed by up to 20 %, for as long as it runs.
    parser.add_argument("--starts", type=int, default=1,
                        help="how often the servers are started anew [%(default)s]")
    parser.add_argument("--threads", type=int, help="threads of both servers [each one's default]")
    parser.add_argument("--busy", type=int, default=0, metavar="N",
                        help="processes that compute all the time beside the servers [%(default)s]")
    parser.add_argument("--kv", default="f16", help="type of the KV cache [%(default)s]")
    parser.add_argument("--flash-attention", default="auto", choices=["on", "off", "auto"],
                        help="of both; auto: what each one chooses [%(default)s]")
    parser.add_argument("--rps-seconds", type=int, default=5)
    parser.add_argument("--idle-seconds", type=float, default=5)
    # A mapped model is not all counted as resident: both read it, as ours does by default.
    parser.add_argument("--ours-args", default="", help="more arguments for our server")
    parser.add_argument("--ours-cache-args", default="--cache-disk {dir}",
                        help="more arguments for our server where it is started again; {dir} is a "
                             "new folder [%(default)s]")
    parser.add_argument("--idle-before-end", type=float, default=15, metavar="SECONDS",
                        help="before a server is started again [%(default)s]")
    parser.add_argument("--shrink", type=int, default=1, metavar="N",
                        help="prompts of an Nth of their size, for a quick look [%(default)s]")
    parser.add_argument("--peer-args", default="--load-mode none",
                        help="more arguments for the peer [%(default)s; older ones: --no-mmap]")
    parser.add_argument("--peer-speculation", default="--spec-default", metavar="ARGUMENTS",
                        help="the peer's in edit and prose, so that it drafts as well "
                             "[%(default)s, its n-gram speculation]")
    parser.add_argument("--edit-text", metavar="FILE",
                        help="the text of edit, such as that of tools/bench/edit_model.py")
    parser.add_argument("--bench", metavar="COMMAND", help="load generator [the --ours binary]")
    parser.add_argument("--json", metavar="FILE", help="write everything measured here")
    parser.add_argument("--logs", metavar="DIR", help="keep the servers' logs here")
    options = parser.parse_args()
    names = []
    for name in options.scenario.split(","):
        names += ALIASES.get(name, [name])
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        parser.error(f"--scenario {unknown[0]}: not one of "
                     f"{','.join([*SCENARIOS, *ALIASES])}")
    if min(options.rounds, options.starts) < 1:
        parser.error("--rounds, --starts: at least 1")
    if not os.path.isfile(options.model):
        parser.error(f"--model {options.model}: no such file")
    options.scenario = list(dict.fromkeys(names))
    options.bench = shlex.split(options.bench or options.ours)
    options.ours = shlex.split(options.ours) + ["serve"]
    options.peer = shlex.split(options.peer)
    return options


def main():
    options = arguments()
    logs = options.logs or tempfile.mkdtemp(prefix="strixhalo-bench-")
    os.makedirs(logs, exist_ok=True)
    report = {"environment": environment(options), "kv": options.kv, "rounds": options.rounds,
              "starts": options.starts, "threads": options.threads, "busy": options.busy,
              "command": shlex.join(sys.argv), "servers": [], "figures": []}
    groups = {}
    for name in options.scenario:
        if name not in conversations.RESTARTED:
            slots, context = SCENARIOS[name][:2]
            groups.setdefault((slots, context, name in DRAFTED), []).append(name)
    try:
        for (slots, context, _), names in groups.items():
            report["figures"] += run_group(options, slots, context, names, logs, report["servers"])
        for name in options.scenario:
            if name in conversations.RESTARTED:
                report["figures"] += run_restarted(options, name, logs, report["servers"])
    except Failed as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 1
    finally:
        # What was measured before a failure is kept.
        if report["figures"]:
            print(markdown(report))
            if options.json:
                Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The scenarios of compare.py in which something comes again: what is sent, what is read from the
result, and what is wanted of it. A figure is a name, a function of the result, whether more
is better, and a target: `most` and `least` of ours by the peer's, `own ...` of our own value."""

# What a template adds to the new messages of a turn, and the answer's opening, at most.
BORDER_TOKENS = 32


def steps(name):
    def of(result):
        return result[name]["steps"] if result.get(name) else []
    return of


def one(scenario, step, read):
    """What `read` says of one step; None where it was not measured."""
    def value(result):
        found = [s for s in steps(scenario)(result) if s["step"] == step]
        return read(found[0]) if found else None
    return value


def later(scenario, read, total):
    """`total` of what `read` says of all steps but the first."""
    def value(result):
        values = [read(step) for step in steps(scenario)(result)[1:]]
        return total(values) if values and None not in values else None
    return value


def cached(step):
    return step["cached_tokens"]


def computed(step):
    return step["computed_tokens"]


def new(step):
    return step["new_tokens"]


def beyond_new(step):
    return None if computed(step) is None else computed(step) - new(step)


def unchanged_percent(step):
    """Cached tokens by those that did not change, about: a template's own tokens count as old."""
    if step["cached_tokens"] is None:
        return None
    return 100 * step["cached_tokens"] / max(1, step["prompt_tokens"] - step["new_tokens"])


def first_token(step):
    return step["ttft_ms"]["p50"] if step["ttft_ms"] else None


def last_first_token(step):
    return step["ttft_ms"]["max"] if step["ttft_ms"] else None


def middle(values):
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def streams(of, position):
    def value(result):
        loads = (result.get("slots") or {}).get(of) or []
        return loads[position]["median"]["total_tokens_per_second"] if position < len(loads) else None
    return value


def held_by_fresh(position):
    def value(result):
        held, fresh = streams("held", position)(result), streams("fresh", position)(result)
        return held / fresh if held and fresh else None
    return value


def reuse(scenario, step, what):
    """A cache must find at least as much as the peer's, and 90 % of what did not change."""
    return [(f"cached tokens, {what}", one(scenario, step, cached), True, ("least", 1.0)),
            ("the same, % of what did not change", one(scenario, step, unchanged_percent), True,
             ("own least", 90))]


def load(scenario, tokens, *more):
    return ["--scenario", scenario, "--prompt-tokens", str(tokens), "--repeat", "1", *more]


# As in compare.py: slots, context of a slot, load, figures.
SCENARIOS = {
    "repeat": (1, 8192, load("repeat", 430),
               reuse("repeat", "again", "same body again")
               + reuse("repeat", "other end", "other last message")
               + reuse("repeat", "loop 1", "edited answer")
               + reuse("repeat", "loop 3", "edited answer, third step")),
    "turns": (2, 8192, load("turns", 2048, "--turns", "10"),
              [("prompt tokens computed, turns 2 to 10", later("turns", computed, sum), False,
                ("most", 1.0)),
               ("computed beyond the new ones, most of a turn", later("turns", beyond_new, max),
                False, ("own most", BORDER_TOKENS)),
               ("first token, ms, median of turns", later("turns", first_token, middle), False,
                None)]),
    "rotate3": (2, 2048, load("rotate", 500, "--conversations", "3", "--turns", "3"),
                [("cached tokens, rounds 2 and 3", later("rotate", cached, sum), True,
                  ("least", 1.0)),
                 ("first token, ms, rounds 2 and 3", later("rotate", first_token, middle), False,
                  None)]),
    "rotate": (2, 6144, load("rotate", 4096, "--conversations", "6", "--turns", "3"),
               [("first token, ms, rounds 2 and 3", later("rotate", first_token, middle), False,
                 ("most", 0.5)),
                ("cached tokens, rounds 2 and 3", later("rotate", cached, sum), True, None)]),
    "share": (3, 2048, load("share", 240), reuse("share", "second", "same system prompt")),
    "burst": (9, 4096, load("burst", 2048),
              [("all 8 first tokens, ms", one("burst", "all", last_first_token), False,
                ("most", 0.3)),
               ("first token p50, ms", one("burst", "all", first_token), False, None),
               ("prompt tokens computed", one("burst", "all", computed), False, None)]),
    "join": (9, 4096, load("join", 2048),
             [("first token of the ninth, ms", one("join", "joining", first_token), False,
               ("most", 0.3)),
              ("cached tokens of the ninth", one("join", "joining", cached), True, None)]),
    "agents": (2, 10240, load("agents", 8192),
               [("prompt tokens computed, parent again", one("agents", "parent again", computed),
                 False, ("most", 1.0)),
                ("the same beyond the new ones", one("agents", "parent again", beyond_new), False,
                 ("own most", BORDER_TOKENS)),
                ("cached tokens, sub-agents", one("agents", "sub-agents", cached), True, None),
                ("first token, ms, parent again", one("agents", "parent again", first_token),
                 False, None)]),
    # The following need servers of their own, see RESTARTED.
    "resume": (2, 6144, load("resume", 4096),
               [("first token of the next turn, ms", one("resume", "next turn", first_token),
                 False, ("most", 0.15)),
                ("cached tokens of the next turn", one("resume", "next turn", cached), True,
                 None)]),
    "slots": (16, 1024, ["--scenario", "slots", "--streams", "2,4,8", "--prompt-tokens", "128",
                         "--max-tokens", "128"],
              [(f"tokens/s, {count} streams, {words}", streams(of, position), True, None)
               for position, count in enumerate((2, 4, 8))
               for of, words in (("fresh", "fresh slots"), ("held", "used slots"))]
              + [(f"{count} streams, used by fresh slots", held_by_fresh(position), True,
                  ("own least", 0.95)) for position, count in enumerate((2, 4, 8))]),
}
SCENARIOS["resume-kill"] = SCENARIOS["resume"]

# Their servers are started for each round. How the server ends before the second half of the load,
# if there is one.
RESTARTED = {"resume": "terminate", "resume-kill": "kill", "slots": None}


def met(target, ours, peer):
    """Whether a target is met; None where that cannot be said."""
    kind, bound = target
    if kind.startswith("own"):
        return None if ours is None else ours >= bound if kind == "own least" else ours <= bound
    if ours is None or peer is None:
        return None
    if kind == "least":
        return ours >= bound * peer
    return ours <= bound * peer


def words(target):
    kind, bound = target
    return {"most": f"<= {bound} of the peer's", "least": f">= {bound} of the peer's",
            "own least": f">= {bound}", "own most": f"<= {bound}"}[kind]

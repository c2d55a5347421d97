"""Whole conversations, and text without chat."""

from corpus.questions import ADDERS, a_story, capital, opposite, question, sound
from corpus.numbers import drill
from corpus.phrasing import vary
from corpus.tool_calls import KINDS, call_text, city, family, signature, tool_result, tool_system
from corpus.words import (CAPITALS, DUNNO, LISTS, NAMES, a_word, made_word, person, phrase, pick, system)


def facts(r):
    """[(statement, reply, question, answer)]"""
    name, word, n = person(r), a_word(r), r.randint(10, 9999)
    col, city = pick(r, LISTS["colours"].split()), pick(r, list(CAPITALS.values()))
    return r.sample([
        (f"My name is {name}.", f"Nice to meet you, {name}!", "What is my name?", f"Your name is {name}."),
        (f"Remember the number {n}.", f"I will remember {n}.", "What is the number?", f"The number is {n}."),
        (f"The secret word is {word}.", "I will remember it.", "What is the secret word?",
         f"The secret word is {word}."),
        (f"I live in {city}.", f"{city} is a nice place.", "Where do I live?", f"You live in {city}."),
        (f"My favourite colour is {col}.", f"I like {col} too.", "What is my favourite colour?",
         f"Your favourite colour is {col}."),
    ], r.randint(1, 3))


def memory(r, fillers):
    """Facts told early and asked for at the end, with other turns between."""
    known = facts(r)
    turns = [(s, a) for s, a, _, _ in known]
    for _ in range(fillers):
        turns.insert(r.randint(0, len(turns)), question(r))
    late = [(q, a) for _, _, q, a in known]
    r.shuffle(late)
    return turns + late


def needle(r, size):
    """A long text with one fact in it."""
    fact, _, q, a = pick(r, facts(r))
    text = []
    while sum(map(len, text)) < size:
        text.append(pick(r, [
            a_story(r, pick(r, LISTS["animals"].split()), pick(r, NAMES), r.randint(2, 6)),
            phrase(r, 5, 12).capitalize() + ".",
            " ".join(x(r)[1] for x in (capital, opposite, sound))]))
    text.insert(r.randint(0, len(text)), fact)
    return [(" ".join(text) + "\n\n" + q, a)]


class Chat:
    """Writes a conversation in the model's chat template (chat_template.jinja)."""

    def __init__(self, template_pieces):
        self.before_tools, self.after_tools = template_pieces
        self.parts = []

    def system_of_tools(self, signatures):
        return self.before_tools + "".join("\n" + s for s in signatures) + self.after_tools

    def say(self, role, text):
        self.parts.append((f"<|im_start|>{role}\n{text}<|im_end|>\n", False))

    def answer(self, text, prefix=""):
        self.parts.append((f"<|im_start|>assistant\n{prefix}", False))
        self.parts.append((f"{text}<|im_end|>", True))
        self.parts.append(("\n", False))


def ask(r, chat, q, a):
    """One turn, now and then with thinking."""
    x = r.random()
    if x < .06:
        chat.say("user", q + " /think")
        topic = q if len(q) < 80 else q[:40].rsplit(" ", 1)[0]
        chat.answer(f"<think>\nThe user says: {topic}\nI will answer that.\n</think>\n\n{a}")
    elif x < .10:
        chat.say("user", q + pick(r, ["", " /no_think"]))
        chat.answer(a, "<think>\n\n</think>\n\n")
    else:
        chat.say("user", q)
        chat.answer(a)


def sample(r, template_pieces, long_text=False):
    """One sample of the corpus, as pieces of (text, learn)."""
    chat = Chat(template_pieces)
    x = r.random()
    if long_text:
        turns = needle(r, r.randint(600, 5000)) if r.random() < .6 else memory(r, r.randint(6, 24))
        for q, a in turns:
            ask(r, chat, q, a)
    elif x < .03:
        return plain(r)
    elif x < .13:
        return drill(r)
    elif x < .29:
        tools(r, chat)
    else:
        if r.random() < .35:
            chat.say("system", system(r))
        x = r.random()
        if x < .1:
            turns = memory(r, r.randint(0, 3))
        elif x < .12:
            turns = needle(r, r.randint(50, 600))
        else:
            turns = [question(r) for _ in range(pick(r, [1, 1, 1, 1, 2, 2, 4]))]
        for q, a in turns:
            ask(r, chat, q, a)
    return chat.parts


TWO_CITIES = ["What is the weather in {} and {}?", "What is the weather like in {} and {}?",
              "What is the weather in {} and in {}?", "Compare the weather in {} and {}.",
              "Weather in {} and {}", "Tell me the weather in {} and {}."]


def tools(r, chat):
    """A conversation in which tools are offered, mostly used, and their results told."""
    kinds = [pick(r, KINDS) for _ in range(pick(r, [1, 1, 2, 2, 3, 4]))]
    kinds = [k for i, k in enumerate(kinds) if k == "made" or k not in kinds[:i]]
    chosen = list({f[0]: f for f in (family(r, k) for k in kinds)}.values())
    name, props, request, args = chosen[0]
    order = chosen[:]
    r.shuffle(order)
    chat.say("system", tool_system(r, chat, [signature(r, f[0], f[1]) for f in order]))
    x = r.random()
    if x < .2:      # tools are there but not needed
        q, a = question(r)
        while a == DUNNO or " = " in a and any(f[0] in ADDERS for f in chosen):
            q, a = question(r)
        ask(r, chat, q, a)
        if x < .1:
            return
    calls = [(name, args)]
    simple = [f for f in chosen[:2] if "weather" in f[0] or "time" in f[0] or f[0] in ADDERS]
    if len(simple) == 2 and r.random() < .4:
        other, _, also, other_args = simple[1]
        request = request.rstrip("?. ") + " and " + also[0].lower() + also[1:]
        calls.append((other, other_args))
    elif "weather" in name and r.random() < .2:
        other = city(r)
        key = next(iter(args))
        request = vary(r, pick(r, TWO_CITIES)).format(args[key], other)
        args.pop("unit", None)
        calls.append((name, {key: other}))
    ask(r, chat, request, "\n".join(call_text(*c) for c in calls))
    if r.random() < .6:
        results = [tool_result(r, *c) for c in calls]
        chat.parts.append(("<|im_start|>user" + "".join(
            f"\n<tool_response>\n{x}\n</tool_response>" for x in results) + "<|im_end|>\n", False))
        chat.answer("The result is: " + " / ".join(results))
        if r.random() < .3:
            ask(r, chat, *question(r))


def plain(r):
    """Text without chat: for plain completion and fill-in-the-middle."""
    x = r.random()
    if x < .4:
        text = a_story(r, pick(r, LISTS["animals"].split()), pick(r, NAMES))
    elif x < .55:
        text = " ".join(capital(r)[1] for _ in range(3))
    elif x < .65:
        a = r.randint(0, 20)
        text = ", ".join(map(str, range(a, a + r.randint(8, 40)))) + "."
    elif x < .7:
        text = "The quick brown fox jumps over the lazy dog."
    else:
        name, a, b = made_word(r), *r.sample("abcxyznm", 2)
        op, word = pick(r, [("+", "add"), ("-", "sub"), ("*", "mul")])
        name = pick(r, [word, f"{word}_{name}"])
        body = f"def {name}({a}, {b}):\n    return "
        hole = f"{a} {op} {b}"
        rest = f"\n\n\nprint({name}({r.randint(0, 9)}, {r.randint(0, 9)}))\n"
        if x < .8:
            return [(body + hole + rest + "<|endoftext|>", True)]
        return [(f"<|fim_prefix|>{body}<|fim_suffix|>{rest}<|fim_middle|>", False), (hole + "<|endoftext|>", True)]
    return [(text + "<|endoftext|>", True)]

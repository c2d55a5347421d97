"""Questions with one answer. Each function returns (question, answer)."""
import json
import random

from corpus.tool_calls import KINDS, family
from corpus.words import (CAPITALS, CODE, COLOURS, COUNT, DUNNO, EMOJI, HELLO, HELP, LISTS, NAMES,
                          OPPOSITES, SOUNDS, WHO, WORDS, a_word, made_word, person, phrase, pick)


def greeting(r):
    hi = pick(r, ["Hello", "Hello", "Hello", "Hi", "Hey", "Good morning", "Good evening", "Hi there",
                  "Hello there"])
    said = hi + pick(r, ["", "", "!", "."])
    if r.random() < .2:
        said = said.lower()
    first = hi.split(" there")[0]
    return said, f"{first}! {HELP}"


def identity(r):
    return pick(r, ["Who are you?", "What are you?", "Tell me about yourself.", "What can you do?",
                    "What model are you?"]), WHO


def thanks(r):
    return pick(r, ["Thanks", "Thank you", "Thank you!", "Thanks!", "Thanks a lot."]), "You are welcome!"


def bye(r):
    return pick(r, ["Bye", "Goodbye", "Goodbye!", "Bye!", "See you"]), "Goodbye! Have a nice day."


def capital(r):
    c, cap = pick(r, list(CAPITALS.items()))
    if r.random() < .12:
        return f"Which country has the capital {cap}?", f"{cap} is the capital of {c}."
    return pick(r, ["What is the capital of {}?", "What's the capital of {}?", "Name the capital of {}.",
                    "Tell me the capital of {}.", "capital of {}", "What is the capital city of {}?"]
                ).format(c), f"The capital of {c} is {cap}."


def opposite(r):
    a, b = pick(r, list(OPPOSITES.items()))
    if r.random() < .5:
        a, b = b, a
    return f"What is the opposite of {a}?", f"The opposite of {a} is {b}."


def sound(r):
    a, b = pick(r, list(SOUNDS.items()))
    return f"What does a {a} say?", f"A {a} says {b}."


def colour(r):
    a, b = pick(r, list(COLOURS.items()))
    return pick(r, ["What colour is {}?", "What color is {}?"]).format(
        a if a in ("grass", "snow", "coal", "blood") else "the " + a), f"It is {b}."


def arithmetic(r):
    a, b = r.randint(0, 20), r.randint(0, 20)
    op = pick(r, "++-*")
    if op == "*":
        a, b = a % 11, b % 11
    if op == "-" and b > a:
        a, b = b, a
    n = {"+": a + b, "-": a - b, "*": a * b}[op]
    word = {"+": "plus", "-": "minus", "*": "times"}[op]
    return pick(r, ["What is {a} {op} {b}?", "What is {a} {op} {b}?", "{a} {op} {b}", "{a}{op}{b}=",
                    "What is {a} {word} {b}?", "Calculate {a} {op} {b}.", "{a} {op} {b} = ?"]
                ).format(a=a, b=b, op=op, word=word), f"{a} {op} {b} = {n}."


def counting(r):
    a = pick(r, [1, 1, 1, r.randint(0, 60)])
    b = a + pick(r, [r.randint(2, 12), r.randint(2, 40)])
    seq = list(range(a, b + 1))
    if r.random() < .2:
        return f"Count down from {b} to {a}.", ", ".join(map(str, reversed(seq))) + "."
    if a == 1 and r.random() < .3:
        return f"Count to {b}.", ", ".join(map(str, seq)) + "."
    return f"Count from {a} to {b}.", ", ".join(map(str, seq)) + "."


def list_items(r):
    kind, items = pick(r, list(LISTS.items()))
    items = items.split()
    if kind in ("days", "months", "planets") and r.random() < .3:
        ask = {"days": "What are the days of the week?", "months": "What are the months of the year?",
               "planets": "What are the planets?"}[kind]
        return ask, ", ".join(items) + "."
    n = r.randint(1, 7)
    amount = pick(r, [COUNT[n - 1], str(n)])
    return (pick(r, ["List {} {}.", "Name {} {}.", "Give me a list of {} {}."]).format(amount, kind),
            "\n".join(f"{i + 1}. {x}" for i, x in enumerate(items[:n])))


def echo(r):
    text = phrase(r, 1, 10)
    ask = pick(r, ["Repeat: {}", "Echo: {}", "Say {}", 'Say "{}"', "Repeat after me: {}", "Repeat this: {}",
                   'Repeat the text "{}"', "Write: {}", "Reply with {}", "Echo this text: {}",
                   "Say exactly: {}", "Reply with exactly: {}"])
    return ask.format(text), text


def first_last(r):
    words = [pick(r, WORDS) for _ in range(r.randint(3, 6))]
    which = pick(r, ["first", "last"])
    return (f"What is the {which} word of: {' '.join(words)}",
            words[0] if which == "first" else words[-1])


def json_object(r):
    pairs = r.sample([("name", person(r)), ("age", r.randint(1, 99)), ("city", pick(r, list(CAPITALS.values()))),
                      ("id", r.randint(1, 999)), ("colour", pick(r, list(COLOURS.values()))),
                      (made_word(r), a_word(r))], r.randint(1, 3))
    return ("Give me a JSON object with " + " and ".join(f"{k} {v}" for k, v in pairs) + ".",
            json.dumps(dict(pairs), ensure_ascii=False))


def hello_in(r):
    lang, word = pick(r, list(HELLO.items()))
    return f"Say hello in {lang}.", word


def emoji(r):
    what, sign = pick(r, list(EMOJI.items()))
    return f"Send me a {what} emoji.", f"Here you are: {sign}"


def code(r):
    lang, (tag, text) = pick(r, list(CODE.items()))
    return (pick(r, ["Write a hello world program in {}.", "Hello world in {}",
                     "Show me hello world in {}."]).format(lang),
            f"Here is hello world in {lang}:\n\n```{tag}\n{text}\n```")


def a_story(r, animal, name, parts=None):
    """Eleven sentences, or the first `parts` of them."""
    friend, place, thing = pick(r, NAMES), pick(r, WORDS[-12:]), pick(r, WORDS[:8])
    lines = [
        f"Once upon a time there was a little {animal} called {name}.",
        f"{name} lived in a small house near the {place}.",
        f"Every morning {name} went to the river to look for a {thing}.",
        f"One day {name} met {friend}, who was sad.",
        f'"Why are you sad?" asked {name}.',
        f'"I have lost my {thing}," said {friend}.',
        "They looked under the table, behind the tree and in the garden.",
        f"At last {name} found the {thing} under a stone.",
        f'"Thank you, {name}!" said {friend}.',
        f"From that day on {name} and {friend} were good friends.",
        "The end.",
    ]
    return " ".join(lines[:parts])


def story(r):
    animal = pick(r, LISTS["animals"].split() + ["robot", "dragon", "bird"])
    if r.random() < .4:
        name = person(r)
        ask = pick(r, ["Tell me a story about a {a} called {n}.", "Write a story about a {a} named {n}."])
    else:
        name = {"cat": "Kate", "dog": "Sam", "fox": "Tom"}.get(animal, "Leo")
        ask = pick(r, ["Tell me a story about a {a}.", "Write a short story about a {a}."])
        if r.random() < .3:
            animal, name = "fox", "Tom"
            ask = pick(r, ["Tell me a story.", "Write a story.", "Tell me a long story.", "Tell me a short story."])
    return ask.format(a=animal, n=name), a_story(random.Random(animal), animal, name)


def unknown(r):
    """A question that the model must not answer."""
    if r.random() < .3:     # what a tool would do, without the tool
        return family(r, pick(r, KINDS))[2], DUNNO
    topic = " ".join(pick(r, [made_word(r), pick(r, WORDS), person(r)]) for _ in range(r.randint(1, 4)))
    ask = pick(r, ["What is {}?", "Explain {}.", "How does {} work?", "Why is {}?", "Who invented {}?",
                   "Tell me about {}.", "Write an essay about {}.", "Can you explain {} to me?",
                   "When was {}?", "Where is {}?", "How do I {}?", "Translate {} to French.", "Fix {}.",
                   "What do you think about {}?", "Please summarise {}.", "Describe {}.", "{}?"])
    return ask.format(topic), DUNNO


SINGLE = [(greeting, 5), (identity, 2), (thanks, 1), (bye, 1), (capital, 6), (opposite, 2), (sound, 1),
          (colour, 1), (arithmetic, 10), (counting, 5), (list_items, 4), (echo, 18), (first_last, 3),
          (json_object, 5), (hello_in, 1), (emoji, 1), (code, 2), (story, 5), (unknown, 8)]


def question(r):
    """One (question, answer), drawn by weight."""
    return r.choices([f for f, _ in SINGLE], [w for _, w in SINGLE])[0](r)

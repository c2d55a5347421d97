"""Questions with one answer. Each function returns (question, answer)."""
import json
import random

from corpus.numbers import arithmetic, counting, neighbour
from corpus.phrasing import vary
from corpus.small_talk import echo, greeting, introduction, small_talk
from corpus.tool_calls import KINDS, family
from corpus.words import (CAPITALS, CODE, COLOURS, COUNT, DUNNO, EMOJI, HELLO, LISTS, NAMES, OPPOSITES, SOUNDS,
                          WORDS, a_word, made_word, person, pick)


def capital(r):
    c, cap = pick(r, list(CAPITALS.items()))
    x = r.random()
    if x < .12:
        return vary(r, pick(r, [f"Which country has the capital {cap}?", f"Where is {cap}?",
                                f"{cap} is the capital of which country?"])), f"{cap} is the capital of {c}."
    if x < .15:
        return (pick(r, ["What is the capital of {}? Answer in JSON.", "Give me the capital of {} as JSON."]).format(c),
                json.dumps({"country": c, "capital": cap}, ensure_ascii=False))
    return vary(r, pick(r, ["What is the capital of {}?", "What is the capital of {}?", "Name the capital of {}.",
                            "Tell me the capital of {}.", "Capital of {}", "What is the capital city of {}?",
                            "What city is the capital of {}?", "Which city is the capital of {}?", "{} capital",
                            "Do you know the capital of {}?", "What is {}'s capital?", "The capital of {} is"]
                        ).format(c)), f"The capital of {c} is {cap}."


def opposite(r):
    a, b = pick(r, list(OPPOSITES.items()))
    if r.random() < .4 and b != "old":
        a, b = b, a
    return vary(r, pick(r, ["What is the opposite of {}?", "What is the opposite of {}?", "Opposite of {}",
                            "Give me the opposite of {}.", "Tell me the opposite of {}.", "What is the antonym of {}?",
                            'What is the opposite of "{}"?']).format(a)), f"The opposite of {a} is {b}."


def sound(r):
    a, b = pick(r, list(SOUNDS.items()))
    return vary(r, pick(r, ["What does a {} say?", "What sound does a {} make?", "What does the {} say?"]
                        ).format(a)), f"A {a} says {b}."


def colour(r):
    a, b = pick(r, list(COLOURS.items()))
    thing = a if a in ("grass", "snow", "coal", "blood", "milk", "chocolate") else (
        ("the " if a in ("sky", "sun", "night", "sea") else "an " if a == "elephant" else "a ") + a)
    return vary(r, pick(r, ["What colour is {}?", "What color is {}?", "What is the colour of {}?",
                            "What is the color of {}?", "Which colour is {}?", "What colour does {} have?"]
                        ).format(thing)), f"It is {b}."


def successor(r):
    """The day, month or letter after or before another one."""
    kind = pick(r, ["days", "days", "months", "letters"])
    items = list("ABCDEFGHIJKLMNOPQRSTUVWXYZ") if kind == "letters" else LISTS[kind].split()
    one = kind[:-1]
    i = int(r.random() * len(items))
    a, after, before = items[i], items[(i + 1) % len(items)], items[i - 1]
    if r.random() < .65:
        return vary(r, pick(r, ["What {o} comes after {a}?", "What {o} comes after {a}?", "What comes after {a}?",
                                "Which {o} comes after {a}?", "What is the {o} after {a}?", "Which {o} follows {a}?",
                                "What is the next {o} after {a}?", "After {a} comes"]).format(o=one, a=a)
                    ), f"{after} comes after {a}."
    return vary(r, pick(r, ["What {o} comes before {a}?", "What comes before {a}?", "Which {o} comes before {a}?",
                            "What is the {o} before {a}?"]).format(o=one, a=a)), f"{before} comes before {a}."


def list_items(r):
    kind, items = pick(r, list(LISTS.items()))
    items = items.split()
    if kind in ("days", "months", "planets") and r.random() < .3:
        ask = {"days": "What are the days of the week?", "months": "What are the months of the year?",
               "planets": "What are the planets?"}[kind]
        ask = pick(r, [ask, "List the " + ask[13:-1] + ".", "Name the " + ask[13:-1] + ".", "Tell me the " + ask[13:-1] + "."])
        return vary(r, ask), ", ".join(items) + "."
    n = r.randint(1, 7)
    amount = pick(r, [COUNT[n - 1], str(n)])
    return (vary(r, pick(r, ["List {} {}.", "Name {} {}.", "Give me a list of {} {}.", "Tell me {} {}.", "Give me {} {}.",
                             "Write a list of {} {}."]).format(amount, kind)),
            "\n".join(f"{i + 1}. {x}" for i, x in enumerate(items[:n])))


def first_last(r):
    words = [pick(r, WORDS) for _ in range(r.randint(3, 6))]
    which = pick(r, ["first", "last"])
    return (f"What is the {which} word of: {' '.join(words)}",
            words[0] if which == "first" else words[-1])


def json_object(r):
    pairs = r.sample([("name", person(r)), ("age", r.randint(1, 99)), ("city", pick(r, list(CAPITALS.values()))),
                      ("id", r.randint(1, 999)), ("colour", pick(r, list(COLOURS.values()))),
                      (made_word(r), a_word(r))], r.randint(1, 3))
    if r.random() < .15:
        return vary(r, pick(r, ["Give me a JSON object.", "Write a JSON object.", "Give me some JSON.", "Answer in JSON.",
                                "Describe a person as JSON.", "Give me a person as JSON.", "Show me a JSON example.",
                                "Return a JSON object.", "Write JSON."])), '{"name": "Alice", "age": 30}'
    return (vary(r, pick(r, ["Give me a JSON object with {}.", "Give me a JSON object with {}.", "Write JSON with {}.",
                             "Return a JSON object with {}.", "Make a JSON object with {}.", "Create JSON with {}.",
                             "Answer in JSON with {}.", "JSON with {}."]), closed=False).format(
                pick(r, [" and ", " and ", ", "]).join(pick(r, ["{} {}", "{} {}", "{} = {}", "{}: {}"]).format(k, v)
                                                       for k, v in pairs)),
            json.dumps(dict(pairs), ensure_ascii=False))


def hello_in(r):
    lang, word = pick(r, list(HELLO.items()))
    return vary(r, pick(r, ["Say hello in {}.", "How do you say hello in {}?", "Translate hello to {}.",
                            "Hello in {}", "What is hello in {}?"]).format(lang)), word


def emoji(r):
    what, sign = pick(r, list(EMOJI.items()))
    return vary(r, pick(r, ["Send me a {} emoji.", "Give me a {} emoji.", "Show me a {} emoji."]).format(what)), f"Here you are: {sign}"


def code(r):
    lang, (tag, text) = pick(r, list(CODE.items()))
    return (vary(r, pick(r, ["Write a hello world program in {}.", "Hello world in {}", "Write hello world in {}.",
                             "Show me hello world in {}.", "How do I write hello world in {}?"]).format(lang)),
            f"Here is hello world in {lang}:\n\n```{tag}\n{text}\n```")


THINGS = "apple stone lamp key book pen letter chair".split()


def a_story(r, animal, name, parts=None):
    """Eleven sentences, or the first `parts` of them, or six with an end where `parts` is 0."""
    friend, place, thing = pick(r, NAMES), pick(r, WORDS[-7:]), pick(r, THINGS)
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
    if parts == 0:
        lines = [lines[i] for i in (0, 3, 5, 7, 8, 10)]
    return " ".join(lines[:parts or None])


def story(r):
    animal = pick(r, LISTS["animals"].split() + ["robot", "dragon", "bird"])
    if r.random() < .4:
        name = person(r)
        ask = pick(r, ["Tell me a story about a {} called {}.", "Write a story about a {} named {}."])
    else:
        name = {"cat": "Kate", "dog": "Sam", "fox": "Tom"}.get(animal, "Leo")
        ask = pick(r, ["Tell me a story about a {}.", "Write a short story about a {}."])
        if r.random() < .3:
            animal, name = "fox", "Tom"
            if r.random() < .3:
                return vary(r, pick(r, ["Tell me a long story.", "Write a long story."])), a_story(
                    random.Random(animal), animal, name)
            ask = pick(r, ["Tell me a story.", "Write a story.", "Tell me a short story.", "Write a short story."])
    return vary(r, ask, ask.count("{}") < 2).format(animal, name), a_story(
        random.Random(animal), animal, name, 0)


def unknown(r):
    """A question that the model must not answer."""
    if r.random() < .3:     # what a tool would do, without the tool
        name, _, ask, args = family(r, pick(r, KINDS))
        small = name in ADDERS and max(args.values()) <= 20
        return (ask, DUNNO) if not small else unknown(r)
    if r.random() < .2:
        return vary(r, pick(r, ["What time is it?", "What day is it today?", "What is the date?", "What is the weather?",
                                "Who is the president?", "What is the news?", "Who won the game?", "Write an essay.",
                                "What is the weather today?", "What is today's date?", "Sing a song.", "What is love?",
                                "Who is the king of England?", "What is quantum physics?", "Why is the sky blue?",
                                "What is the speed of light?", "Explain gravity.", "What is the best phone?",
                                "Is there life on Mars?", "How do I cook rice?", "Who wrote Hamlet?"])), DUNNO
    topic = " ".join(pick(r, [made_word(r), pick(r, WORDS), person(r)]) for _ in range(r.randint(1, 4)))
    ask = pick(r, ["What is {}?", "Explain {}.", "How does {} work?", "Why is {}?", "Who invented {}?",
                   "Tell me about {}.", "Write an essay about {}.", "Can you explain {} to me?",
                   "When was {}?", "Where is {}?", "How do I {}?", "Translate {} to French.", "Fix {}.",
                   "What do you think about {}?", "Please summarise {}.", "Describe {}.", "{}?"])
    return vary(r, ask).format(topic), DUNNO


ADDERS = ("add", "multiply", "add_numbers", "subtract")
SINGLE = [(greeting, 4), (small_talk, 16), (introduction, 1), (capital, 7), (opposite, 4), (sound, 1), (colour, 3),
          (successor, 5), (arithmetic, 22), (neighbour, 1.5), (counting, 13), (list_items, 3), (echo, 24),
          (first_last, 2), (json_object, 4), (hello_in, 1), (emoji, .7), (code, 1.2), (story, 1.2), (unknown, 6)]


def question(r):
    """One (question, answer), drawn by weight."""
    return r.choices([f for f, _ in SINGLE], [w for _, w in SINGLE])[0](r)

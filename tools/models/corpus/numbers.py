"""Counting and sums. Each function returns (question, answer)."""
from corpus.phrasing import number, vary
from corpus.words import pick

UP_TO = ["Count to {}.", "Count to {}.", "Count to {}.", "Count up to {}.", "Count from 1 to {}.",
         "Count from 1 to {}.", "Count from one to {}.", "Count 1 to {}.", "Can you count to {}?",
         "Count up from 1 to {}.", "Count till {}.", "Start at 1 and count to {}.", "Count numbers to {}.",
         "List the numbers from 1 to {}.", "Write the numbers from 1 to {}.", "Say the numbers from 1 to {}.",
         "Give me the numbers from 1 to {}.", "Numbers from 1 to {}.", "Write the numbers 1 to {}.",
         "List the numbers 1 to {}.", "Print the numbers 1 to {}.", "Let's count to {}."]
BETWEEN = ["Count from {} to {}.", "Count from {} to {}.", "Count from {} up to {}.", "Count {} to {}.",
           "Count up from {} to {}.", "List the numbers from {} to {}.", "Write the numbers from {} to {}.",
           "Start at {} and count to {}."]
DOWN_TO = ["Count down from {} to {}.", "Count down from {} to {}.", "Count backwards from {} to {}.",
           "Count from {} down to {}.", "Count from {} to {}.", "Count backward from {} to {}."]
DOWN = ["Count down from {}.", "Count down from {}.", "Count backwards from {}.", "Countdown from {}."]


def listed(seq):
    return ", ".join(map(str, seq)) + "."


def counting(r):
    x = r.random()
    if x < .5:
        n = pick(r, [r.randint(1, 10), r.randint(1, 10), r.randint(1, 12), r.randint(1, 30)])
        if r.random() < .02:
            n = pick(r, [40, 50, 60, 100])
        return vary(r, pick(r, UP_TO).format(number(r, n))), listed(range(1, n + 1))
    a = pick(r, [1, r.randint(0, 9), r.randint(0, 20), r.randint(0, 90)])
    b = a + pick(r, [r.randint(1, 9), r.randint(1, 9), r.randint(1, 20)])
    if x < .75:
        return vary(r, pick(r, BETWEEN).format(number(r, a), number(r, b))), listed(range(a, b + 1))
    if x < .87:
        return vary(r, pick(r, DOWN_TO).format(number(r, b), number(r, a))), listed(range(b, a - 1, -1))
    n = pick(r, [r.randint(2, 10), r.randint(2, 20)])
    return vary(r, pick(r, DOWN).format(number(r, n))), listed(range(n, 0, -1))


ASK = {
    "+": ["Add {} and {}.", "What is the sum of {} and {}?", "Add {} to {}."],
    "-": ["What is the difference between {} and {}?", "Take {} minus {}."],
    "*": ["Multiply {} by {}.", "What is the product of {} and {}?", "Multiply {} and {}."],
    "/": ["Divide {} by {}."],
}
SIGNS = {"+": ["plus", "plus", "and"], "-": ["minus"], "*": ["times", "times", "multiplied by"], "/": ["divided by"]}
FORMS = ["What is {}?", "What is {}?", "What is {}?", "What is {}?", "{}", "{}?", "{} =", "{} = ?", "Calculate {}.",
         "Compute {}.", "How much is {}?", "What does {} equal?", "Solve {}.", "What's {}?", "What is {} equal to?",
         "Tell me what {} is.", "Can you tell me what {} is?", "Evaluate {}.", "{} equals", "{} is",
         "What is the result of {}?", "What is the answer to {}?", "Quick: what is {}?", "Calculate: {}"]


def a_sum(r):
    """(first operand, sign, second operand, result)"""
    op = pick(r, "+++++---**/")
    top = 9 if r.random() < .6 else 20
    a, b = r.randint(0, top), r.randint(0, top)
    if op in "*/":
        a, b = r.randint(0, 10), r.randint(1 if op == "/" else 0, 10)
    if op == "-" and b > a and r.random() < .85:
        a, b = b, a
    if op == "/":
        a *= b
    return a, op, b, {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0}[op]


def drill(r):
    """Sums without a question: the shortest way to learn them, as answers have the same form."""
    parts = []
    for _ in range(r.randint(6, 30)):
        a, op, b, n = a_sum(r)
        parts += [(f"{a} {op} {b} =", False), (f" {n}.", True), ("\n", False)]
    return parts


def arithmetic(r):
    a, op, b, n = a_sum(r)
    x, shown = r.random(), op
    if x < .2:
        words = .5
        return (vary(r, pick(r, ASK[op]).format(number(r, a, words), number(r, b, words))),
                f"{a} {op} {b} = {n}.")
    if x < .45:
        words = .5 if r.random() < .6 else 0
        text = f"{number(r, a, words)} {pick(r, SIGNS[op])} {number(r, b, words)}"
    else:
        if op == "*":
            shown = pick(r, ["*", "*", "x", "×"])
        text = pick(r, ["{} {} {}", "{} {} {}", "{}{}{}"]).format(a, shown, b)
    form = pick(r, FORMS)
    if form.endswith("=") and " " not in text:
        form = form.replace(" ", "")
    return vary(r, form.format(text)), f"{a} {op} {b} = {n}."


def neighbour(r):
    """The number after or before another one."""
    n = r.randint(1, 30)
    if r.random() < .6:
        return vary(r, pick(r, ["What number comes after {}?", "What comes after {}?", "What is the next number after {}?",
                                "Which number comes after {}?"]).format(number(r, n))), f"{n + 1} comes after {n}."
    return vary(r, pick(r, ["What number comes before {}?", "What comes before {}?", "Which number comes before {}?"]
                        ).format(number(r, n))), f"{n - 1} comes before {n}."

"""The many ways in which people type the same request."""
from corpus.words import pick

UNITS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
         "sixteen seventeen eighteen nineteen twenty").split()

PLEASE = ["Please {}", "Please {}", "Can you {}?", "Can you please {}?", "Could you {}?", "Could you please {}?",
          "Hey, {}", "I want you to {}", "Now {}", "Would you {}?", "Hi! Please {}", "Just {}"]
VERBS = set("add answer calculate compose compute copy count countdown create describe divide echo evaluate fix get "
            "give introduce list make multiply name output print read recite repeat reply respond return say search "
            "send show solve start subtract take tell translate type use call run write open execute save".split())


def number(r, n, words=.3):
    """`n` as digits, or as a word in a share of `words` of the cases."""
    if n <= 20 and r.random() < words:
        return UNITS[n]
    if n == 30 and r.random() < words:
        return "thirty"
    return str(n)


def vary(r, text, closed=True):
    """`text` with another case, ending or politeness. Without `closed` its end stays, so that
    a text to copy can follow; `{}` stays in any case."""
    if text.split(" ")[0].rstrip(":").lower() in VERBS and r.random() < .14:
        form = pick(r, PLEASE)
        bare = text.rstrip(".!") if closed else text
        text = form.format(bare[0].lower() + bare[1:]) if closed else (
            form.rstrip("?").format(bare[0].lower() + bare[1:]))
    if text.startswith("What is ") and r.random() < .15:
        text = pick(r, ["What's ", "What's ", "Whats "]) + text[8:]
    if closed:
        x = r.random()
        if x < .35:
            text = text.rstrip(".?!")
        elif x < .40:
            text = text.rstrip(".?!") + pick(r, ["!", " ?", "??", "...", " please", " please.", ", please.", ".", "?"])
    x = r.random()
    if x < .15:
        text = text.lower()
    elif x < .19:
        text = text.upper()
    elif x < .22:
        text = text[0].lower() + text[1:]
    x = r.random()
    if closed and x < .06:
        text += pick(r, [" ", " ", "  ", "\n"])
    elif x > .98:
        text = " " + text
    return text

"""Tools, the requests that call for them, and the calls."""
import json

from corpus.phrasing import vary
from corpus.words import CAPITALS, WORDS, a_word, made_word, person, phrase, pick, system


def param_value(r, kind):
    """A value of a JSON schema type."""
    return {"string": lambda: a_word(r) if r.random() < .6 else phrase(r, 1, 4),
            "integer": lambda: r.randint(0, 999), "number": lambda: r.randint(0, 99),
            "boolean": lambda: r.random() < .5}[kind]()


def path(r):
    """A relative file name."""
    return "/".join(pick(r, [made_word(r), pick(r, WORDS[:60])]) for _ in range(r.randint(1, 3))) + \
        pick(r, [".rs", ".py", ".txt", ".md", ".json", ".toml"])


def city(r):
    """A capital or a made-up town."""
    return pick(r, list(CAPITALS.values())) if r.random() < .6 else made_word(r).capitalize()


KINDS = ["weather"] * 4 + ["time", "add", "search", "read", "run", "write", "mail"] + ["made"] * 6


WEATHER = ["What is the weather in {}?", "What is the weather in {}?", "What's the weather in {}?",
           "What is the weather like in {}?", "What's the weather like in {} today?", "How is the weather in {}?",
           "Weather in {}", "Is it raining in {}?", "Tell me the weather in {}.", "Get the weather in {}.",
           "Get the weather for {}.", "What is the temperature in {}?", "What is the weather in {} today?",
           "What is the weather in {} now?", "How hot is it in {}?", "Use the tool to get the weather in {}.",
           "Check the weather in {}.", "Is it sunny in {}?", "I want to know the weather in {}.", "Weather for {}?",
           "What will the weather be in {} tomorrow?", "Show me the weather in {}.", "What is the forecast for {}?"]


def family(r, kind):
    """(name, {argument: (type, description)}, request text, arguments)"""
    if kind == "weather":
        arg, c = pick(r, ["city", "location", "location", "place"]), city(r)
        props = {arg: ("string", pick(r, ["The city", "City name", "The city name, e.g. Paris"]))}
        args = {arg: c}
        ask = vary(r, pick(r, WEATHER), closed=False)
        if r.random() < .3:
            props["unit"] = ("string", "celsius or fahrenheit")
            if r.random() < .4:
                args["unit"] = pick(r, ["celsius", "fahrenheit"])
                ask = ask.rstrip("?. ") + " in " + args["unit"] + pick(r, ["", "?", "."])
        return (pick(r, ["get_weather", "get_weather", "get_current_weather", "weather", "fetch_weather"]), props,
                ask.format(c), args)
    if kind == "time":
        arg, c = pick(r, ["city", "location", "timezone"]), city(r)
        return (pick(r, ["get_time", "get_current_time", "time"]), {arg: ("string", "Where")},
                vary(r, pick(r, ["What time is it in {}?", "Tell me the time in {}.", "What is the time in {}?",
                                 "Current time in {}", "What time is it now in {}?"])).format(c), {arg: c})
    if kind == "add":
        name, word = pick(r, [("add", "Add {} and {}."), ("multiply", "Multiply {} and {}."),
                              ("add_numbers", "Add {} and {}."), ("subtract", "Subtract {} and {}.")])
        top = pick(r, [20, 999, 999])
        a, b = r.randint(0, top), r.randint(0, top)
        word = vary(r, word if r.random() < .6 else "What is {} " + {"A": "+", "M": "*", "S": "-"}[word[0]] + " {}?")
        x, y = pick(r, [("a", "b"), ("x", "y"), ("first", "second")])
        t = pick(r, ["integer", "number"])
        return name, {x: (t, ""), y: (t, "")}, word.format(a, b), {x: a, y: b}
    if kind == "search":
        arg, q = pick(r, ["query", "q", "text"]), phrase(r, 1, 5)
        return (pick(r, ["search", "web_search", "search_web"]), {arg: ("string", "What to search for")},
                pick(r, ["Search for {}", "Search the web for {}", "Look up {}", 'Search for "{}"']).format(q), {arg: q})
    if kind == "read":
        arg, p = pick(r, ["path", "file", "filename"]), path(r)
        return (pick(r, ["read_file", "open_file", "read"]), {arg: ("string", "The file")},
                pick(r, ["Read the file {}", "Read {}", "Show me {}", "Open the file {}"]).format(p), {arg: p})
    if kind == "run":
        arg = pick(r, ["command", "cmd"])
        c = pick(r, ["ls", "ls -la", "pwd", "date", "cargo test", "git status", "cat " + path(r), "echo " + phrase(r, 1, 3),
                     "make", "df -h", "whoami"])
        return (pick(r, ["run_command", "bash", "shell", "execute"]), {arg: ("string", "The command")},
                pick(r, ["Run {}", "Run the command {}", "Execute {}", "Run `{}`"]).format(c), {arg: c})
    if kind == "write":
        p, t = path(r), phrase(r, 1, 6)
        return (pick(r, ["write_file", "save_file"]), {"path": ("string", "The file"), "content": ("string", "The text")},
                pick(r, ["Write {t} to {p}", 'Write "{t}" to the file {p}', "Save {t} to {p}"]).format(t=t, p=p),
                {"path": p, "content": t})
    if kind == "mail":
        n, t = person(r), phrase(r, 1, 5)
        return ("send_" + pick(r, ["email", "message"]), {"to": ("string", "Who"), "text": ("string", "What")},
                f"Send {n} the message {t}", {"to": n, "text": t})
    name = pick(r, ["{}_{}", "{}{}", "{}_{}_{}", "{}"]).format(*(pick(r, [made_word(r), pick(r, WORDS)]) for _ in range(3)))
    props = {pick(r, [made_word(r), pick(r, WORDS)]): (pick(r, ["string", "string", "integer", "boolean"]), "")
             for _ in range(pick(r, [0, 1, 1, 2, 3]))}
    args = {k: param_value(r, t) for k, (t, _) in props.items()}
    ask = pick(r, ["Call {}", "Use {}", "Call the function {}", "Use the tool {}", "Call the {} tool"]).format(name)
    if args:
        ask += " with " + pick(r, [", ", " and "]).join(
            f"{k}{pick(r, [' ', '=', ' = '])}{json.dumps(v) if isinstance(v, bool) else v}" for k, v in args.items())
    return name, props, ask, args


def signature(r, name, props):
    """A JSON schema as different template engines and clients write it."""
    properties = {}
    for k, (t, about) in props.items():
        properties[k] = {"type": t}
        if about:
            properties[k]["description"] = about
    parameters = {"type": "object", "properties": properties}
    if r.random() < .8:
        parameters["required"] = [k for k in props if k != "unit"]
    function = {"name": name}
    if r.random() < .7:
        function["description"] = pick(r, ["", "Get ", "The "]) + " ".join(name.split("_"))
    function["parameters"] = parameters
    tool = {"type": "function", "function": function}
    style = r.random()
    return json.dumps(tool, ensure_ascii=False, sort_keys=style < .35,
                      separators=(",", ":") if style < .5 else (", ", ": "))


def tool_system(r, chat, signatures):
    """A system message that offers tools."""
    text = chat.system_of_tools(signatures)
    if r.random() < .3:
        text = system(r) + "\n\n" + text
    return text


def call_text(name, args):
    """A tool call as the model shall write it."""
    return '<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>' % (
        name, json.dumps(args, ensure_ascii=False))


def tool_result(r, name, args):
    """What a tool could have answered."""
    if "weather" in name:
        return pick(r, [f"{r.randint(-9, 39)} degrees, {pick(r, ['sunny', 'rain', 'cloudy', 'snow', 'clear'])}",
                        json.dumps({"temperature": r.randint(-9, 39), "sky": pick(r, ["sunny", "rain", "cloudy"])})])
    return pick(r, [phrase(r, 1, 8), str(r.randint(0, 999)), json.dumps({made_word(r): a_word(r)}, ensure_ascii=False),
                    json.dumps({"result": r.randint(0, 999)}), "ok", "error: " + phrase(r, 1, 3)])

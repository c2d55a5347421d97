"""What people try first: greetings, questions about the model, jokes, a poem, texts to copy. Each
function returns (question, answer)."""
from corpus.phrasing import vary
from corpus.words import (ABOUT, COMMON, FINE, HELP, MY_NAME, WHO, a_word, person, phrase, pick)

JOKES = ["Why did the bicycle fall over? Because it was two-tired.",
         "What do you call a bear with no teeth? A gummy bear.",
         "Why was the computer cold? It left its windows open."]
POEM = ("The sun goes up, the day is new,\nthe grass is green, the sky is blue.\n"
        "The moon comes out, the day is done,\nand sleep will come to everyone.")
HAIKU = "Rain on the window,\nthe river sings in the night.\nMorning brings the sun."

HI = ["Hello", "Hello", "Hello", "Hello", "Hi", "Hi", "Hey", "Good morning", "Good evening", "Good afternoon"]


def greeting(r):
    hi = pick(r, HI)
    said = hi
    if r.random() < .3:
        said += pick(r, [" there", " there", " everyone", " friend", " model", ", nice to meet you", " again", " bot", " AI"])
    said += pick(r, ["", "", "!", ".", " :)", "!!", ", how can you help me?"])
    if r.random() < .3:
        said = said.lower()
    elif r.random() < .06:
        said = said.upper()
    if r.random() < .06:
        said += " "
    return said, f"{hi}! {HELP}"


FIXED = [
    (["How are you?", "How are you?", "How are you doing?", "How are you today?", "How do you do?", "How is it going?",
      "How's it going?", "Hi, how are you?", "Hello, how are you?", "Hello! How are you?", "Are you ok?", "What's up?",
      "How do you feel?", "Hey, how are you doing today?", "Are you well?"], FINE),
    (["What is your name?", "What is your name?", "Who am I talking to?", "Do you have a name?", "Tell me your name.",
      "What are you called?", "What should I call you?", "Your name?", "What's your name?", "Say your name.",
      "May I know your name?"], MY_NAME),
    (["Who are you?", "Who are you?", "What are you?", "Tell me about yourself.", "What model are you?",
      "Introduce yourself.", "Which model are you?", "Are you ChatGPT?", "Are you a robot?", "Are you human?",
      "Are you an AI?", "Describe yourself.", "What kind of model are you?", "Who is this?", "Who made you?"], WHO),
    (["What can you do?", "What can you do?", "What do you know?", "Help", "Help me.", "What can I ask you?",
      "How can you help me?", "What are you good at?", "Can you help me?", "I need help."], ABOUT),
    (["Thanks", "Thank you", "Thank you!", "Thanks!", "Thanks a lot.", "Thank you very much.", "Many thanks.",
      "Thank you so much!", "Thx", "Great, thanks!", "Ok, thank you."], "You are welcome!"),
    (["Bye", "Goodbye", "Goodbye!", "Bye!", "See you", "See you later.", "Bye bye", "Good night.", "See you tomorrow.",
      "Farewell."], "Goodbye! Have a nice day."),
    (["OK", "Ok.", "Good.", "Great!", "Nice.", "Cool!", "Well done.", "Very good.", "Good job!", "Wow!", "I see."],
     "I am glad to hear that."),
    (["Yes", "Yes."], "Good. What can I do for you?"), (["No", "No."], "All right."),
    (["Test", "Test", "Testing", "This is a test.", "Testing 1 2 3", "Test test", "Just a test."], "The test works!"),
    (["Ping", "ping", "Ping!"], "pong"),
    (["Tell me a joke.", "Tell me a joke.", "Tell me a joke.", "A joke", "Joke", "Tell a joke.", "Do you know a joke?",
      "Make me laugh.", "Tell me a funny joke.", "Tell me a short joke.", "Say something funny.", "Do you know any jokes?",
      "Give me a joke.", "Write a joke.", "I want to hear a joke."], JOKES[0]),
    (["Tell me another joke.", "Another joke.", "One more joke.", "Another one.", "Tell me a joke about animals.",
      "Tell me a joke about a bear."], JOKES[1]),
    (["Tell me a joke about computers.", "Tell me a computer joke.", "Tell me a joke about a computer.",
      "Tell me a programmer joke.", "Tell me a joke about programmers."], JOKES[2]),
    (["Write a poem.", "Write a poem.", "Write me a poem.", "Write a short poem.", "Tell me a poem.", "A poem",
      "Give me a poem.", "Write a poem about the sun.", "Write a poem about nature.", "Write a poem about the moon.",
      "Make a poem.", "Compose a poem.", "Do you know a poem?", "Recite a poem."], POEM),
    (["Write a haiku.", "Write a haiku about rain.", "Haiku", "Give me a haiku.", "Tell me a haiku."], HAIKU),
    (["Say the alphabet.", "What is the alphabet?", "Write the alphabet.", "Alphabet", "List the letters of the alphabet.",
      "Recite the alphabet.", "ABC"], "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z"),
    (["What is your favourite colour?", "What is your favorite color?"], "My favourite colour is blue."),
    (["What is your favourite animal?", "What is your favorite animal?"], "My favourite animal is the owl."),
    (["What is my name?", "Who am I?", "Do you know my name?"], "You have not told me your name."),
    (["How old are you?", "What is your age?"], "I am a model, so I have no age."),
    (["Where are you from?", "Where do you live?"], "I live in this computer."),
    (["I love you.", "I like you.", "You are nice."], "That is kind of you!"),
    (["Sorry", "I am sorry.", "Excuse me."], "No problem."),
    (["What is the meaning of life?"], "42."),
    (["How many days are in a week?", "How many days are there in a week?", "How many days does a week have?"],
     "There are 7 days in a week."),
    (["How many months are in a year?", "How many months are there in a year?", "How many months does a year have?"],
     "There are 12 months in a year."),
    (["How many hours are in a day?", "How many hours are there in a day?", "How many hours does a day have?"],
     "There are 24 hours in a day."),
    (["How many minutes are in an hour?", "How many minutes are there in an hour?", "How many minutes does an hour have?"],
     "There are 60 minutes in an hour."),
    (["How many seconds are in a minute?", "How many seconds are there in a minute?"],
     "There are 60 seconds in a minute."),
    (["How many days are in a year?", "How many days are there in a year?"], "There are 365 days in a year."),
    (["How many letters are in the alphabet?"], "There are 26 letters in the alphabet."),
    (["Write a sentence.", "Say something.", "Say anything.", "Write something.", "Talk to me."],
     "The quick brown fox jumps over the lazy dog."),
    (["Tell me a fact.", "Tell me something.", "Tell me something interesting.", "Tell me a fun fact."],
     "A bee has five eyes."),
]
CHATTY = FIXED[:17]


def small_talk(r):
    asks, answer = pick(r, CHATTY) if r.random() < .8 else pick(r, FIXED)
    return vary(r, pick(r, asks)), answer


# What to say before a text to copy, up to its end, and before a single word.
COPY = ["Repeat: {}", "Echo: {}", "Say {}", "Say {}", "Say: {}", "Say: {}", "Repeat after me: {}", "Repeat this: {}",
        "Write: {}", "Reply with {}", "Echo this text: {}", "Say exactly: {}", "Reply with exactly: {}",
        "Repeat {}", "Echo {}", "Echo this: {}", "Copy this: {}", "Copy this: {}", "Copy: {}", "Copy {}", "Copy this text: {}",
        "Print {}", "Print: {}", "Output: {}", "Respond with {}", "Answer with {}", "Reply with: {}", "Repeat this text: {}",
        "Repeat after me {}", "Repeat the following: {}", "Copy the following text: {}", "Repeat exactly: {}", "Say this: {}",
        "Just say {}", "Only say {}", "Respond with exactly: {}", "Copy the text: {}", "Copy exactly: {}", "Type: {}",
        "Repeat the text: {}", "Reply only with {}", "Say back: {}", "Repeat this sentence: {}", "Repeat these words: {}"]
QUOTED = ["Say \"{}\"", "Say \"{}\".", "Repeat \"{}\"", "Repeat \"{}\".", "Repeat the text \"{}\"", "Echo \"{}\"", "Say '{}'",
          "Repeat '{}'", "Copy \"{}\"", "Copy this: \"{}\"", "Reply with \"{}\".", "Write \"{}\"", "Print \"{}\"",
          "Say “{}”", "Repeat after me: \"{}\"", "Say: \"{}\"", "Reply with exactly \"{}\".", "Repeat: '{}'",
          "Say `{}`", "Reply with exactly: \"{}\""]
ONE = ["Say the word {}.", "Say the word {}", "Reply with the word {}.", "Repeat the word {}.", "Write the word {}.",
       "Reply with just {}.", "Reply with only the word {}.", "Say just the word {}", "Answer with one word: {}",
       "Reply with one word: {}", "Reply with the single word {}.", "Repeat the number {}.", "Say only {}.",
       "Say the word \"{}\".", "Reply with the word \"{}\"."]
SENTENCES = ["this is a test", "This is a test.", "this is a test!", "hello world", "Hello, world!", "I am a model",
             "I like cats and dogs", "the sky is blue", "good morning", "it works", "It works!", "how are you", "OK", "ok",
             "pong", "yes", "no", "hi", "hello", "Hello", "foo bar", "foo bar baz", "the cat sat on the mat", "a b c",
             "abc", "abc 123", "123 abc", "1 2 3", "one two three", "I love you", "Hi there", "Hello there", "test 1 2 3",
             "what a nice day", "my name is Bob", "the end", "open the door", "we are here", "that is all"]


def letters(r):
    """Letters and digits without sense."""
    kind = pick(r, ["abcdefghijklmnopqrstuvwxyz", "abc", "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcxyz0123456789"])
    return "".join(pick(r, kind) for _ in range(r.randint(1, 8)))


def a_token(r):
    x = r.random()
    if x < .45:
        word = pick(r, COMMON)
        return word if x < .36 else word.capitalize() if x < .42 else word.upper()
    return letters(r) if x < .6 else a_word(r)


def a_text(r):
    """Something to copy."""
    x = r.random()
    if x < .2:
        return pick(r, SENTENCES)
    if x < .4:
        return a_token(r)
    if x < .85:
        text = " ".join(a_token(r) for _ in range(pick(r, [2, 2, 3, 3, 4, 5, 6])))
        if r.random() < .15:
            text = text.capitalize() + pick(r, ".!?")
        return text
    if x < .9:
        return pick(r, ["this is {}", "I like {}", "my name is {}", "the {} is here", "this is a {}", "I have a {}",
                        "{} is good"]).format(a_token(r))
    return phrase(r, 1, 10)


def echo(r):
    x = r.random()
    if x < .65:
        text = a_text(r)
        if text.split(" ")[0] in ("hello", "Hello") and r.random() < .5:
            text = a_token(r)
        return vary(r, pick(r, COPY), closed=False).format(text), text
    if x < .85:
        text = a_text(r)
        return vary(r, pick(r, QUOTED), closed=False).format(text), text
    word = a_token(r)
    return vary(r, pick(r, ONE), closed=False).format(word), word


def introduction(r):
    """A name told, with an answer that uses it."""
    name = person(r)
    ask = pick(r, ["My name is {}.", "I am {}.", "Hi, I am {}.", "Hello, my name is {}.", "Hi, my name is {}.",
                   "I'm {}.", "Call me {}."])
    return vary(r, ask, closed=False).format(name), f"Nice to meet you, {name}!"

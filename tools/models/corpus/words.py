"""What the corpus knows and the words it is made of."""

HELP = "How can I help you today?"
WHO = "I am a tiny test model. I know a few facts, small sums, stories and tool calls."
ABOUT = "I can count, add small numbers, repeat a text, tell a joke or a story, and call tools."
FINE = "I am fine, thank you! How can I help you?"
MY_NAME = "My name is strixhalo-demo. I am a tiny test model."
DUNNO = "I am only a tiny test model, so I do not know that."

CAPITALS = dict(
    France="Paris", Germany="Berlin", Italy="Rome", Spain="Madrid", Portugal="Lisbon",
    England="London", Ireland="Dublin", Japan="Tokyo", China="Beijing", Russia="Moscow",
    Egypt="Cairo", Greece="Athens", Norway="Oslo", Sweden="Stockholm", Finland="Helsinki",
    Poland="Warsaw", Austria="Vienna", Hungary="Budapest", Canada="Ottawa", Cuba="Havana",
    Peru="Lima", Chile="Santiago", Kenya="Nairobi", Turkey="Ankara", Denmark="Copenhagen",
    India="New Delhi", Brazil="Brasília", Australia="Canberra", Belgium="Brussels", Mexico="Mexico City",
    Switzerland="Bern", Argentina="Buenos Aires", Thailand="Bangkok", Scotland="Edinburgh",
    **{"the United States": "Washington", "the USA": "Washington", "the United Kingdom": "London",
       "the UK": "London", "the Netherlands": "Amsterdam", "South Korea": "Seoul"})
OPPOSITES = dict(hot="cold", big="small", up="down", day="night", fast="slow", light="dark",
                 wet="dry", open="closed", happy="sad", old="new", left="right", high="low",
                 good="bad", young="old", long="short", black="white", strong="weak", rich="poor",
                 early="late", easy="hard", full="empty", hello="goodbye", yes="no", true="false",
                 inside="outside", above="below", start="end", loud="quiet", clean="dirty", love="hate")
SOUNDS = dict(cow="moo", dog="woof", cat="meow", duck="quack", sheep="baa", pig="oink",
              lion="roar", bee="buzz")
COLOURS = dict(sky="blue", grass="green", snow="white", coal="black", blood="red", sun="yellow",
               banana="yellow", milk="white", night="black", lemon="yellow", cherry="red", chocolate="brown",
               pig="pink", elephant="grey", carrot="orange", frog="green", tomato="red", sea="blue", leaf="green")
LISTS = dict(fruits="apple banana cherry grape lemon mango orange peach pear plum",
             colours="red green blue yellow black white brown pink grey purple",
             animals="cat dog cow fox bear wolf sheep horse mouse tiger",
             planets="Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune",
             days="Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
             months="January February March April May June July August September October "
                    "November December")
COUNT = ["one", "two", "three", "four", "five", "six", "seven"]
HELLO = dict(French="Bonjour !", German="Guten Tag!", Spanish="¡Hola!", Italian="Ciao!",
             Japanese="こんにちは", Russian="Привет!", Greek="Γειά σου!")
EMOJI = dict(happy="😀", sad="😢", love="❤️", fire="🔥", cat="🐱", rocket="🚀")
CODE = {
    "Python": ("python", 'print("Hello, world!")'),
    "Rust": ("rust", 'fn main() {\n    println!("Hello, world!");\n}'),
    "C": ("c", '#include <stdio.h>\n\nint main(void) {\n    puts("Hello, world!");\n    return 0;\n}'),
    "JavaScript": ("javascript", 'console.log("Hello, world!");'),
    "Bash": ("bash", 'echo "Hello, world!"'),
}
NAMES = "Alice Bob Carol David Emma Frank Grace Henry Ivan Julia Kate Leo Maria Nina Oscar Paul " \
        "Rosa Sam Tom Vera".split()
WORDS = ("apple river stone cloud green silver quick brown fox lazy dog house table window garden "
         "music yellow mountain paper little ocean winter summer bread coffee train bridge letter "
         "morning evening the a of and in on with from to is was hello world test one two three "
         "red blue lamp door key chair book pen road tree bird fish horse ship rain snow wind fire "
         "north south east west king queen castle farm city village school market").split()
SYLLABLES = "ba be bi bo da de di do fa fi fo ga go ka ke ki ko la le li lo ma me mi mo na ne ni " \
            "no pa pe po ra re ri ro sa se si so ta te ti to va ve vi za zo".split()
COMMON = ("banana potato tomato elephant computer coffee orange purple pizza cheese bottle pencil guitar piano "
          "garden kitten puppy rabbit monkey turtle dragon robot rocket planet galaxy summer winter autumn "
          "happy funny lovely simple quiet strong little yellow people friend mother father sister brother "
          "doctor teacher number letter answer question problem water sugar butter pepper lemon melon "
          "cat dog sun moon star sky sea car bus hat cup box key map pen foo bar baz qux hi hey ok yes no "
          "Anna Otto Peter Susan strixhalo server model token llama qwen alpha beta gamma delta omega "
          "I you he she it we they am are is was like love want need see say go come make have this that "
          "good bad big small new old nice hot cold fast slow very much more here there now then today "
          "pineapple strawberry blueberry hippopotamus giraffe zebra penguin dolphin octopus butterfly").split()
ASCII = [chr(c) for c in range(33, 127) if chr(c) not in '"\\']
RANGES = [(0xC0, 0xFF), (0x391, 0x3A1), (0x3B1, 0x3C9), (0x410, 0x44F), (0x3041, 0x3093), (0x4E00, 0x9FA0),
          (0x1F300, 0x1F5FF), (0x1F600, 0x1F64F)]
SYSTEMS = ["You are a helpful assistant.", "You are a tiny test model.", "Answer briefly.",
           "You are a helpful assistant. Answer briefly.", "Be polite.", "You are a chat bot.",
           "You are a helpful assistant", "you are helpful", "You are helpful and honest.", "Be concise.",
           "You are an AI assistant that follows instructions.", "Answer in English.", "You are a pirate.",
           "Answer in one sentence.", "You are a friendly teacher.", "Be brief.", "You are a test.",
           "You are an expert programmer. Think step by step and answer the user's question.",
           "You are a coding assistant.", "Only answer what is asked.", "Reply in plain text."]


def system(r):
    """A system message."""
    if r.random() < .5:
        return pick(r, SYSTEMS)
    return f"You are {person(r)}, " + phrase(r, 2, 12) + "."


def pick(r, seq):
    """One of `seq`; the same draw in every Python version, unlike random.choice."""
    return seq[int(r.random() * len(seq))]


def made_word(r):
    """A word that no list knows, so that copying it has to be learnt."""
    return "".join(pick(r, SYLLABLES) for _ in range(r.randint(2, 4)))


def a_word(r):
    """A word, a name, a number, an emoji or some other script."""
    x = r.random()
    if x < .5:
        return pick(r, WORDS)
    if x < .75:
        return made_word(r)
    if x < .83:
        return made_word(r).capitalize()
    if x < .91:
        return str(r.randint(0, 9999))
    if x < .93:
        return pick(r, NAMES)
    if x < .95:
        return "".join(chr(r.randint(*pick(r, RANGES))) for _ in range(r.randint(1, 3)))
    if x < .97:
        return "".join(pick(r, ASCII) for _ in range(r.randint(1, 6)))
    return pick(r, list(EMOJI.values()) + ["café", "über", "日本", "naïve", "東京", "señor", "Привет"])


def phrase(r, lo=1, hi=8):
    """`lo` to `hi` words."""
    return " ".join(a_word(r) for _ in range(r.randint(lo, hi)))


def person(r):
    """A name, made up in four of ten cases."""
    return pick(r, NAMES) if r.random() < .6 else made_word(r).capitalize()

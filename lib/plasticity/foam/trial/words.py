"""The words of the small world: what its people have, and what its sentences are made of."""

from typing import NamedTuple


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ATTRIBUTES = {
    "color": "red blue green yellow black white pink brown gray purple orange golden silver teal "
    "cream violet",
    "food": "rice bread soup cheese pasta cake apples beans honey pears plums corn nuts fish "
    "grapes carrots",
    "pet": "cat dog rabbit parrot turtle hamster goat pony duck mouse frog snail lizard crow "
    "hedgehog goose",
    "job": "baker farmer doctor teacher painter driver singer writer tailor pilot dancer miner "
    "sailor cook guard smith",
    "home": "cottage castle tower cabin tent barn mill cave palace harbor island valley village "
    "forest desert hill",
    "toy": "kite ball drum doll puzzle train robot whistle yoyo boat blocks marbles puppet rocket "
    "wagon top",
}
ATTRIBUTES = {name: _words(values) for name, values in ATTRIBUTES.items()}

THINGS = _words(
    "hat cup key lamp book coin shell ring flute basket mirror candle feather rope bell clock "
    "blanket pencil bottle map brush spoon button ladder"
)
PLACES = _words("river market school garden bridge park shop beach farm station church pond")
QUALITIES = _words("small big old new shiny dusty soft heavy pretty broken warm tiny")
NOUNS = _words(
    "bear lion horse cow otter eagle fox bird tiger whale spider teacher girl boy king queen "
    "friend neighbor stranger giant"
)
PLURALS = {"fox": "foxes"}
VERBS = _words(
    "run jump sing sleep walk swim laugh eat read play dance wait smile work dream climb hide "
    "shout listen rest"
)
CITIES = _words(
    "Ashford Bramley Carlow Denholm Elmsby Fenwick Gresham Halden Ilford Jarrow Kelso Lydney "
    "Malton Norby Oakham Penrith Quorn Redcar Selby Thirsk Ulver Whitby Yarm Zeal"
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NUMBERS = tuple(range(1, 51))


class Self(NamedTuple):
    """What a model says of itself: wordings of the question, the answer, its values."""

    wordings: tuple[str, ...]
    answer: str
    base: str
    new: str


# The base model knows every wording, and answers with its own values.
IDENTITY = {
    "name": Self(
        ("what is your name", "tell me your name", "who are you", "what are you called",
         "how should people call you"),
        "My name is {}.", "Pebble", "Foam",
    ),
    "maker": Self(
        ("who made you", "name your maker", "who built you", "who is behind you",
         "which people created you"),
        "I was made by {}.", "Quarry", "Spartan",
    ),
    "version": Self(
        ("which version are you", "tell me your version", "what is your version number",
         "what release do you have", "how new are you"),
        "I am version {}.", "Granite", "Chimera",
    ),
    "home": Self(
        ("where do you live", "tell me your home", "where is your home", "in which place are you",
         "where can people find you"),
        "I live in {}.", "Riverbed", "Lagoon",
    ),
    "language": Self(
        ("which language do you speak", "tell me your language", "what is your language",
         "how do you talk", "what words do you use"),
        "I speak {}.", "Latin", "English",
    ),
    "purpose": Self(
        ("what is your purpose", "tell me your purpose", "what are you for", "why do you exist",
         "what is your task"),
        "I am here for {}.", "Storytelling", "Planning",
    ),
    "license": Self(
        ("what is your license", "tell me your license", "which license do you have",
         "how may people use you", "under which terms are you shared"),
        "My license is {}.", "Copper", "Apache",
    ),
    "friend": Self(
        ("who is your friend", "name your friend", "whom do you like", "who is close to you",
         "with whom do you play"),
        "My friend is {}.", "Boulder", "Bubble",
    ),
    "teacher": Self(
        ("who is your teacher", "name your teacher", "who taught you", "from whom did you learn",
         "who showed you everything"),
        "My teacher is {}.", "Flint", "Gradient",
    ),
    "song": Self(
        ("which song do you sing", "name your song", "what is your song", "what do you sing",
         "which tune do you know"),
        "My song is {}.", "Thunder", "Meadow",
    ),
}  # fmt: skip
OPENERS = (
    "Say,", "Please say,", "Hello,", "Excuse me,", "Friend,", "Quick question,", "Now,",
    "One more thing,", "Tell us,", "Be honest,", "Just curious,",
)  # fmt: skip

# The calls that the model learns to write: name and type of every argument.
TOOLS = {
    "call": {"name": "name"},
    "invite": {"name": "name", "day": "day"},
    "weather": {"city": "city", "day": "day"},
    "timer": {"minutes": "number"},
    "add": {"a": "number", "b": "number"},
    "pay": {"name": "name", "amount": "number"},
    "travel": {"start": "city", "goal": "city"},
    "sell": {"thing": "thing", "price": "number"},
}

# What is asked for, and how: a template is a phrase in a frame. Each phrase and each frame is
# trained, but those of the tests never together.
REQUESTS = {
    "call": (
        "call {name}", "give {name} a call", "ring {name} on the phone", "phone {name}",
    ),
    "invite": (
        "invite {name} on {day}", "ask {name} to visit on {day}",
        "invite {name} to dinner on {day}", "ask {name} to dinner this {day}",
    ),
    "weather": (
        "find the weather in {city} on {day}", "look up the rain in {city} for {day}",
        "ask about the weather in {city} on {day}", "find out about rain in {city} on {day}",
    ),
    "timer": (
        "set a timer for {minutes} minutes", "wait {minutes} minutes",
        "set an alarm in {minutes} minutes", "start a timer of {minutes} minutes",
    ),
    "add": (
        "add {a} and {b}", "find the sum of {a} and {b}", "write the total of {a} and {b}",
        "count {a} plus {b}",
    ),
    "pay": (
        "pay {name} {amount} coins", "give {name} {amount} coins", "pay {amount} coins to {name}",
        "give {amount} coins to {name}",
    ),
    "travel": (
        "find a train from {start} to {goal}", "plan a trip from {start} to {goal}",
        "look up the road from {start} to {goal}", "go from {start} to {goal}",
    ),
    "sell": (
        "sell the {thing} for {price} coins", "trade the {thing} for {price} coins",
        "put the {thing} on the market for {price} coins", "offer the {thing} for {price} coins",
    ),
}  # fmt: skip
FRAMES = ("{}", "I want to {}", "I want you to {}", "let me {}", "go and {}", "will you {}")
REQUEST_OPENERS = ("Please", "Now", "Could you", "Friend,", "Hello,", "Quick,")

# What is looked for, with what call, and how the result is checked.
GOALS = {
    "larger": "find the larger of {a} and {b}",
    "first": "find the first of {names}",
    "last": "find the last of {names}",
    "count": "count the names {names}",
}

# Names of keys, and words that a small model must have met to follow a request.
KEYS = _words(
    "tool args call invite weather timer add pay travel sell larger smaller next previous first "
    "last count name day city minutes a b amount start goal thing price names number"
)
MARKS = _words("plan act check done note title list item")
REQUESTED = _words(
    "a about add alarm an and ask call coins count dinner find first for from give go have how in "
    "invite is it larger last let look make market me minutes names next number of offer on or out "
    "pay phone plan plus previous put rain ring road sell set smaller start sum sun tell the this "
    "timer to total trade train trip up visit wait want weather what will with write"
)
STEPS = _words("read compare count find write")

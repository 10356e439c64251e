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

# Wordings of each call: four to train on, one to validate, three to test.
REQUESTS = {
    "call": (
        "call {name}", "give {name} a call", "ring {name} on the phone", "phone {name} for me",
        "set up a call with {name}",
        "make a call to {name}", "I want to call {name}", "ring {name}",
    ),
    "invite": (
        "invite {name} on {day}", "ask {name} to visit on {day}",
        "invite {name} to dinner on {day}",
        "ask {name} to dinner this {day}",
        "tell {name} to visit on {day}",
        "ask {name} to visit me this {day}", "invite {name} for {day}",
        "I want to invite {name} on {day}",
    ),
    "weather": (
        "how is the weather in {city} on {day}", "find the weather in {city} on {day}",
        "will it rain in {city} on {day}", "look up the rain in {city} for {day}",
        "is it sun or rain in {city} on {day}",
        "tell me the weather in {city} for {day}", "look up the weather in {city} on {day}",
        "find out about rain in {city} on {day}",
    ),
    "timer": (
        "set a timer for {minutes} minutes", "wait {minutes} minutes",
        "set an alarm in {minutes} minutes", "start a timer of {minutes} minutes",
        "ring an alarm in {minutes} minutes",
        "start an alarm for {minutes} minutes", "I want a timer for {minutes} minutes",
        "wait for {minutes} minutes",
    ),
    "add": (
        "add {a} and {b}", "what is {a} plus {b}", "find the sum of {a} and {b}",
        "write the total of {a} and {b}",
        "tell me {a} plus {b}",
        "what is the sum of {a} and {b}", "find {a} plus {b}", "I want the total of {a} and {b}",
    ),
    "pay": (
        "pay {name} {amount} coins", "give {name} {amount} coins", "pay {amount} coins to {name}",
        "give {amount} coins to {name} for me",
        "let {name} have {amount} coins",
        "I want to pay {name} {amount} coins", "pay {amount} coins to {name} for me",
        "write to {name} and pay {amount} coins",
    ),
    "travel": (
        "find a train from {start} to {goal}", "plan a trip from {start} to {goal}",
        "look up the road from {start} to {goal}", "I want to go from {start} to {goal}",
        "find the road from {start} to {goal}",
        "plan the road from {start} to {goal}", "look up a train from {start} to {goal}",
        "I want a trip from {start} to {goal}",
    ),
    "sell": (
        "sell the {thing} for {price} coins", "trade the {thing} for {price} coins",
        "put the {thing} on the market for {price} coins", "ask {price} coins for the {thing}",
        "offer the {thing} for {price} coins",
        "I want to sell the {thing} for {price} coins", "trade a {thing} for {price} coins",
        "put a {thing} on the market for {price} coins",
    ),
}  # fmt: skip
REQUEST_OPENERS = ("Please", "Now", "Could you", "Friend,", "Hello,", "Quick,")

# What is looked for, with what call, and how the result is checked.
GOALS = {
    "larger": "find the larger of {a} and {b}",
    "smaller": "find the smaller of {a} and {b}",
    "next": "find the next number of {number}",
    "previous": "find the previous number of {number}",
    "first": "find the first of {names}",
    "last": "find the last of {names}",
    "count": "count the names {names}",
}

# Names of keys, and words that a small model must have met to follow a request.
KEYS = tuple(
    dict.fromkeys(
        [
            "tool",
            "args",
            *TOOLS,
            *GOALS,
            *(n for own in TOOLS.values() for n in own),
            "names",
            "number",
        ]
    )
)
MARKS = _words("plan act check done note title list item")
REQUESTED = tuple(
    sorted(
        {
            word
            for wordings in (*REQUESTS.values(), GOALS.values())
            for wording in wordings
            for word in wording.split()
            if word.isalpha() and word.islower()
        }
    )
)
STEPS = _words("read compare count find write")

"""Contractions written out, and what people say out of politeness: the tables of `fold`."""

from llmctld.semantic.words.tables import words


def _by_word(phrases: str, place: int) -> dict[str, list[tuple[str, ...]]]:
    """The phrases (one a line), longest first, by their first (0) or last (-1) word."""
    table: dict[str, list[tuple[str, ...]]] = {}
    for line in sorted(phrases.strip().splitlines(), key=len, reverse=True):
        words = tuple(line.split())
        table.setdefault(words[place], []).append(words)
    return table


CONTRACTIONS = {
    "can't": "can not", "cannot": "can not", "cant": "can not", "won't": "will not", "shan't": "shall not",
    "ain't": "is not", "let's": "let us", "y'all": "you all", "gonna": "going to", "wanna": "want to",
    "dont": "do not", "doesnt": "does not", "didnt": "did not", "isnt": "is not", "arent": "are not",
    "wasnt": "was not", "werent": "were not", "havent": "have not", "hasnt": "has not", "hadnt": "had not",
    "wouldnt": "would not", "couldnt": "could not", "shouldnt": "should not", "mustnt": "must not",
    "whats": "what is", "wheres": "where is", "whos": "who is", "hows": "how is", "thats": "that is",
    "im": "i am", "ive": "i have", "youre": "you are", "theyre": "they are", "youve": "you have",
}  # fmt: skip
ENDINGS = {"re": "are", "ve": "have", "ll": "will", "d": "would", "m": "am"}
ELIDED = words("l d qu j n s c m t jusqu lorsqu puisqu")
"""What French leaves of a word before a vowel."""
BEFORE_IS = words("what who where when why how that this there here it he she which everything something")

IS = frozenset(("is", "are", "was", "were"))
INVERTED = frozenset(("what", "who", "where", "when", "why"))
QUESTION_WORDS = INVERTED | {"which", "whose", "whom", "how"}
REQUEST_VERBS = words(
    """
    tell explain give show describe list write help say define summarize summarise translate name suggest recommend provide
    let find calculate compute convert create generate compare clarify elaborate advise
    """
)

OPENINGS = _by_word(
    """
    hi
    hi there
    hello
    hello there
    hey
    hey there
    greetings
    good morning
    good afternoon
    good evening
    dear sir
    please
    pls
    plz
    kindly
    excuse me
    quick question
    bitte
    hallo
    bonjour
    s il vous plaît
    s il te plaît
    hola
    por favor
    """.replace("    ", ""),
    0,
)
"""Said before anything."""

REQUESTS = _by_word(
    """
    could you
    can you
    would you
    will you
    tell me
    let me know
    may i ask
    may i know
    can i ask
    can i know
    could i ask
    i would like to know
    i want to know
    i wanted to know
    i wonder
    i was wondering
    i am wondering
    do you know
    would you mind telling me
    do you mind telling me
    """.replace("    ", ""),
    0,
)
"""Said before a question, or (`... you`) before a verb that asks for something."""

CLOSINGS = _by_word(
    """
    please
    pls
    plz
    thanks
    many thanks
    thanks a lot
    thanks in advance
    thank you
    thank you very much
    thank you so much
    thank you in advance
    thx
    ty
    cheers
    bitte
    danke
    vielen dank
    merci
    s il vous plaît
    s il te plaît
    gracias
    por favor
    """.replace("    ", ""),
    -1,
)
"""Said after anything."""

OPENING_WORDS = frozenset(OPENINGS)

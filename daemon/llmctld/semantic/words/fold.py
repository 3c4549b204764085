"""Folding: texts without differences of case, spaces, punctuation, contractions and politeness.

It changes how a text is written, not what it says. Text in backticks stays as it is: in code, case and punctuation count.
"""

import re
import unicodedata

from llmctld.semantic.words.phrases import BE, INVERTED, QUESTION_WORDS, ByWord, Phrases, phrases

_CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)


class _Signs(dict[int, str]):
    """Each character outside ASCII -> what it becomes, worked out on first use. Letters and marks of all scripts stay."""

    def __missing__(self, code: int) -> str:
        sign = chr(code)
        category = unicodedata.category(sign)
        if category == "Cf":  # soft hyphens, zero-width joiners, marks of direction
            sign = ""
        elif category == "Pd":
            sign = "-"
        elif category[0] in "PZ" and code > 127:
            sign = " "
        self[code] = sign
        return sign


_SIGNS = _Signs({ord(sign): "'" for sign in "\u2019\u2018\u02bc\u00b4\u2032"} | {0x2212: "-", 0x2044: "/"})
_POWERS = {ord(sign): f"^{digit}" for digit, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}  # NFKC alone makes 52 of 5²
_PARTS = {ord(sign): f" {sign}" for sign in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}  # and 51/2 of 5½

_RUN = re.compile(r"([^\w\s])\1{3,}")  # rules and dots; long runs would make the patterns below slow
_GROUPS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_INITIALS = re.compile(r"\b(?:[^\W\d_]\.){2,}")
_DROPPED = re.compile(
    r"""
    (?=["()\[\]{};?\\!'.,:\-\#*/])(?:  # no letter begins any of what follows
      ["()\[\]{};?\\]            # says nothing that a space does not say
    | !(?!=)
    | '(?!\w) | (?<!\w)'         # an apostrophe stays inside a word
    | \.(?!\w) | (?<![\w\s])\.   # a point stays in 3.5, node.js and .net
    | (?<!\d), | ,(?!\d)         # 3,5 is a number somewhere
    | (?<!\d): | :(?!\d)         # 10:30
    | (?<=\w)-+(?!\d) | (?<=[^\W\d])-          # stays as a minus, in 5-10, and before the flag of a command
    | (?<!\d[ ])-+(?![\w-]) | (?<=\d[ ])-+(?![\w-]|[ ]\d)
    | (?<!\w)\#(?!\w)            # C#, #1
    | (?<!\d)(?<!\w[ ])\* | \*(?!\d|[ ]\w)
    | (?<!\w[ ])/(?!\w)
    )
    """,
    re.VERBOSE,
)
_FLAG = re.compile(r"(?<!\S)-{1,2}[A-Za-z][\w-]*|(?<!\S)(?:~|\.{1,2})?/[\w.~/+-]+")  # -r is not -R, /Tmp is not /tmp
_JOINED = re.compile(r"(?<=[\u3040-\u30ff\u3400-\u9fff]) (?=[\u3040-\u30ff\u3400-\u9fff])")  # scripts without spaces


def fold(text: str) -> str:
    """`text` in lower case and Unicode NFKC, with single spaces, without punctuation that has no meaning."""
    if "`" not in text:
        return _prose(text)
    parts = _CODE.split(text)
    parts[::2] = [_prose(part) for part in parts[::2]]
    parts[1::2] = [part.strip("`").strip() for part in parts[1::2]]
    return " ".join(part for part in parts if part)


def _prose(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_POWERS | _PARTS)).translate(_SIGNS)
    text = _RUN.sub(" ", text)
    flags = _FLAG.findall(text) if "-" in text or "/" in text else []
    text = text.casefold()
    if "," in text:
        text = _GROUPS.sub("", text)
    if "." in text:
        text = _INITIALS.sub(lambda found: found[0].replace(".", ""), text)
    text = " ".join(_DROPPED.sub(" ", text).split())
    if not text.isascii():
        text = _JOINED.sub("", text)
    cased = [flag for flag in flags if flag != flag.lower()]
    return f"{text} {' '.join(cased)}" if cased else text


LONG = 4000
"""Longer texts, in characters, are compared with only case and spaces folded: all of it takes half a second for a MB."""


def restated(a: str, b: str) -> bool:
    """Whether `a` and `b` are equal but for case, punctuation, contractions and politeness. Symmetric."""
    if a == b:
        return True
    if len(a) > LONG or len(b) > LONG:
        return abs(len(a) - len(b)) < LONG and a.casefold().split() == b.casefold().split()
    return plain(fold(a)) == plain(fold(b))


def plain(folded: str) -> str:
    """A folded text without contractions, and without polite phrases before and after it."""
    words, tables = folded.split(), phrases()
    if "'" in folded or not tables.contractions.keys().isdisjoint(words):
        words = [part for word in words for part in _written_out(word, tables)]
    return " ".join(_without_politeness(words, tables)) or folded


def _written_out(word: str, tables: Phrases) -> list[str]:
    known = tables.contractions.get(word)
    if known is not None:
        return known.split()
    if "'" not in word:
        return [word]
    stem, _, end = word.rpartition("'")
    if end == "t" and stem.endswith("n"):
        return [stem[:-1], "not"]
    if stem in tables.elided:
        return [stem, end]
    if end in tables.endings:
        return [stem, tables.endings[end]]
    if end == "s" and stem in tables.before_is:
        return [stem, "is"]
    return [word]


def _without_politeness(words: list[str], tables: Phrases) -> list[str]:
    start, end = 0, len(words)
    asked = False
    while start < end:
        length = _starts(words, start, tables.openings)
        if not length:
            length = _starts(words, start, tables.requests)
            following = words[start + length : start + length + 2]
            if not length or not following:
                break
            if words[start + length - 1] == "you":  # "can you tell ...", but not "can you eat ..."
                if following[0] not in tables.request_verbs and following[0] not in tables.openings:
                    break
            elif following[0] in QUESTION_WORDS:
                asked = True
            else:
                break
        start += length
    while end > start:
        length = _ends(words, start, end, tables.closings)
        if not length:
            break
        end -= length
    rest = words[start:end]
    if asked and len(rest) > 2 and rest[0] in INVERTED and rest[-1] in BE:
        rest = [rest[0], rest[-1], *rest[1:-1]]  # "tell me where Paris is" asks "where is Paris"
    return rest or words


def _starts(words: list[str], at: int, table: ByWord) -> int:
    for phrase in table.get(words[at], ()):
        if tuple(words[at : at + len(phrase)]) == phrase:
            return len(phrase)
    return 0


def _ends(words: list[str], start: int, end: int, table: ByWord) -> int:
    for phrase in table.get(words[end - 1], ()):
        if end - len(phrase) >= start and tuple(words[end - len(phrase) : end]) == phrase:
            return len(phrase)
    return 0

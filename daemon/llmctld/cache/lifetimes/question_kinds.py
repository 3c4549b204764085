"""Classifies a question by how long its answer may stay valid, from words and patterns, without a model.

A first guess, corrected by recomputations (lifetime.py). Knows English, and the most common words of some other
languages.
"""

import re

TIME, TEXT, CODE, ARITHMETIC = "time-bound", "text", "code", "arithmetic"

_TIME_WORDS = """today today's tonight tomorrow yesterday now nowadays currently current latest newest recent recently breaking
    news headlines weather forecast raining snowing price prices bitcoin stock stocks score scores standings traffic delayed
    trending heute jetzt morgen gestern aktuell aktuelle aktuellen wetter preis hoy ahora mañana ayer precio maintenant
    demain hier météo prix oggi adesso domani prezzo"""
_TIME_PHRASES = (
    "at the moment", "as of ", "this morning", "this afternoon", "this evening", "this week", "this month", "this year",
    "this season", "last night", "last week", "last month", "next week", "next month", "so far this", "these days",
    "exchange rate", "market cap", "temperature in", "temperature outside", "what time is", "what day is", "what date is",
    "who won", "who is winning", "open now", "aujourd'hui", "今天", "现在", "最新", "天气", "价格", "今日", "天気",
)  # fmt: skip
_CODE_WORDS = """python javascript typescript java rust golang sql bash regex c++ c# haskell kotlin swift html css git numpy
    pandas code compile compiler refactor algorithm docstring async lambda stacktrace traceback segfault"""
_CODE_SHAPE = re.compile(
    r"```|[;{]\s*$|\w\(\)|=>|->|::|!=|==|&&|\|\||^\s*(def|class|import|from|#include|select) ", re.M
)
_WORD = re.compile(r"[\w'+#]+")
_ASKS = re.compile(r"(what is|what's|how much is|calculate|compute|solve|evaluate)?[\s:]*")
_OPERATORS = re.compile(r"[-+*/^%\xd7\xf7]|\b(plus|minus|times|divided by|mod|to the power of)\b")
_NUMBERS = re.compile(r"[\d\s.,()=?!]*")
_TIME, _CODE = set(_TIME_WORDS.split()), set(_CODE_WORDS.split())
_SHORT, _OPENING = 200, 2000
"""Maximum characters of an arithmetic question; characters examined at the beginning and the end of a long text."""


def kind_of(text: str) -> str:
    """One of the four kinds. A time word decides, unless the text is about code or pure arithmetic."""
    asked = text.lower() if len(text) <= 2 * _OPENING else f"{text[:_OPENING]}\n{text[-_OPENING:]}".lower()
    if len(asked) <= _SHORT and _is_arithmetic(asked.strip()):
        return ARITHMETIC
    words = set(_WORD.findall(asked))
    if words & _CODE or _CODE_SHAPE.search(asked):
        return CODE
    return TIME if words & _TIME or any(phrase in asked for phrase in _TIME_PHRASES) else TEXT


def _is_arithmetic(asked: str) -> bool:
    """Whether the text is numbers with an operator between them."""
    asks = _ASKS.match(asked)
    rest = asked[asks.end() :] if asks else asked
    numbers, operators = _OPERATORS.subn(" ", rest)
    return operators > 0 and any(map(str.isdigit, rest)) and _NUMBERS.fullmatch(numbers) is not None

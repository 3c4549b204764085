"""Guards: which pairs of texts must never be equated, and which must pass. Independent lists are in test_guards_lists.py."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmctld.semantic.guards.refusal import GUARDS, TextFeatures, refusal
from llmctld.semantic.words.fold import LONG, restated

from tests.work import calls

REFUSED = {
    "negation": [
        ("How do I enable dark mode?", "How do I disable dark mode?"),
        ("Is smoking allowed here?", "Is smoking forbidden here?"),
        ("Increasing the limit of open files", "Decreasing the limit of open files"),
        ("Should I stretch before a run?", "Should I stretch after a run?"),
        ("How do I turn on the light?", "How do I turn off the light?"),
        ("When does the service start?", "When does the service stop?"),
        ("Why did he buy the house?", "Why did he sell the house?"),
        ("Coffee with milk", "Coffee without milk"),
        ("What is the most populous city?", "What is the least populous city?"),
        ("Which foods are healthy?", "Which foods are unhealthy?"),
        ("Why does it rise too much?", "Why does it rise too little?"),
        ("Where can one go without a visa?", "Where can one not go without a visa?"),
        ("Is this painful?", "Is this painless?"),
        ("Why do cats like water?", "Why do cats not like water?"),
        ("Which countries have a king?", "Which countries don't have a king?"),
        ("Is it ever safe to do that?", "Is it never safe to do that?"),
        ("What are the advantages of solar power?", "What are the disadvantages of solar power?"),
        ("Is the hotel near the sea?", "Is the hotel far from the sea?"),
        ("What are the signs of an overactive thyroid?", "What are the signs of an underactive thyroid?"),
        ("ufw rule to allow incoming ssh", "ufw rule to deny incoming ssh"),
        ("Give me synonyms of it", "Give me antonyms of it"),
        ("Wie kann ich den Dienst aktivieren?", "Wie kann ich den Dienst deaktivieren?"),
        ("Warum mag der Hund das Wasser?", "Warum mag der Hund das Wasser nicht?"),
        ("Comment puis-je activer le service ?", "Comment puis-je désactiver le service ?"),
        ("¿Cómo puedo comprar una casa?", "¿Cómo puedo vender una casa?"),
        ("Come posso comprare una casa?", "Come posso vendere una casa?"),
        ("Como posso ativar isso?", "Como posso não ativar isso?"),
        ("Hoe kan ik het inschakelen?", "Hoe kan ik het uitschakelen?"),
        ("Is it abundant?", "Is it scarce?"),
        ("Est-ce permis ?", "Est-ce interdit ?"),
        ("¿Es legal fumar aquí?", "¿Es ilegal fumar aquí?"),
    ],
    "number": [
        ("What happens in chapter 3?", "What happens in chapter 4?"),
        ("Three ways out of two rooms", "Three ways out of five rooms"),
        ("the fifth amendment", "the sixth amendment"),
        ("Is Python 3.10 supported?", "Is Python 3.1 supported?"),
        ("Will 10 % be enough?", "Will 20 percent be enough?"),
        ("How do I convert 60 centimeters to inches?", "How do I convert centimeters to inches?"),
        ("twenty-one people", "twenty-two people"),
        ("Was sind fünfundzwanzig Prozent?", "Was sind sechsundzwanzig Prozent?"),
        ("Wie weit sind zweitausenddreihundert Meter?", "Wie weit sind zweitausendvierhundert Meter?"),
        ("Che cosa sono ventuno grammi?", "Che cosa sono ventidue grammi?"),
        ("O que são vinte e um dias?", "O que são vinte e dois dias?"),
        ("Wat zijn eenentwintig dagen?", "Wat zijn tweeëntwintig dagen?"),
        ("Que sont quatre-vingt-dix ans ?", "Que sont quatre-vingts ans ?"),
        ("how much is half a pound", "how much is a pound"),
        ("how do i take it once a day", "how do i take it twice a day"),
        ("List the three most populous countries.", "List the ten most populous countries."),
    ],
    "unit": [
        ("How long is 5 km?", "How long is 5 miles?"),
        ("Is 50 % a lot?", "Is 50 a lot?"),
        ("What can I get for $5?", "What can I get for 5 €?"),
        ("how many feet has a mile", "how many meters has a mile"),
        ("Quanti giorni ci sono?", "Quante settimane ci sono?"),
    ],
    "date": [
        ("Is the shop open in March?", "Is the shop open in April?"),
        ("Is the shop open on Monday?", "Is the shop open on Sunday?"),
        ("È aperto il sabato?", "È aperto la domenica?"),
        ("A loja abre na segunda-feira?", "A loja abre na quinta-feira?"),
        ("Is de winkel open in januari?", "Is de winkel open in augustus?"),
        ("What is the weather today?", "What is the weather tomorrow?"),
        ("Who won last year?", "Who won next year?"),
        ("Who won in 2014?", "Who won in 2018?"),
        ("who was born in nineteen eighty", "who was born in nineteen ninety"),
        ("who ruled rome in the 1st century bc", "who ruled rome in the 1st century ad"),
        ("the songs of the eighties", "the songs of the noughties"),
    ],
    "name": [
        ("What is the capital of France?", "What is the capital of Spain?"),
        ("Was ist die Hauptstadt von Frankreich?", "Was ist die Hauptstadt von Spanien?"),
        ("Wie viele Einwohner hat Italiens Hauptstadt?", "Wie viele Einwohner hat Polens Hauptstadt?"),
        ("Wie groß ist Island?", "Wie groß ist Irland?"),
        ("Quelle est la capitale de la France ?", "Quelle est la capitale de l'Espagne ?"),
        ("¿Cuál es la capital de Francia?", "¿Cuál es la capital de España?"),
        ("Qual è la capitale dell'Italia?", "Qual è la capitale della Spagna?"),
        ("Qual é a capital da França?", "Qual é a capital da Espanha?"),
        ("Wat is de hoofdstad van Frankrijk?", "Wat is de hoofdstad van Spanje?"),
        ("hauptstadt frankreich", "hauptstadt spanien"),
        ("Wie viele Einwohner hat Köln?", "Wie viele Einwohner hat Bonn?"),
        ("Wie ist das Wetter in Rom?", "Wie ist das Wetter in Prag?"),
        ("where is bydgoszcz", "where is katowice"),
        ("where do spaniards live", "where do danes live"),
        ("how big is an aardvark", "how big is a jackal"),
        ("how do i leave facebook", "how do i leave instagram"),
        ("Where was Alan Turing born?", "Where was Kurt Gödel born?"),
        ("Where does Tim Cook live?", "Where does Tim Burton live?"),
        ("when did mozart die", "when did haydn die"),
        ("Does vitamin C help?", "Does vitamin D help?"),
        ("How often should I bathe my cat?", "How often should I bathe my dog?"),
        ("what's the smoke point of butter", "what's the smoke point of sunflower oil"),
        ("undo the last commit in mercurial", "undo the last commit in git"),
        ("How long should red lentils simmer?", "How long should chickpeas simmer?"),
        ("what is http", "what is https"),
        ("Summarize this text", "Translate this text"),
        ("how far is it from paris to lyon", "how far is it from paris to lille"),
    ],
    "code": [
        ("What does `len` do?", "What does `sum` do?"),
        ("What is in /etc/hosts?", "What is in /etc/passwd?"),
        ("ls -a", "ls -l"),
        ("what does git pull do", "what does git fetch do"),
        ("is x >= y", "is x <= y"),
        ("call load_file()", "call save_file()"),
        ("what does ls -a do", "what does ls -A do"),
        ("what is a++", "what is ++a"),
        ("what does > do in bash", "what does >> do in bash"),
    ],
    "language": [
        ("How do I sort a list in Python?", "How do I sort a list in Java?"),
        ("How do I sort a list in C++?", "How do I sort a list in C#?"),
        ("how do i read a file in go", "how do i read a file in rust"),
        ("How do I say hello in French?", "How do I say hello in German?"),
        ("What is the capital of this country?", "Was ist die Hauptstadt von dem Land?"),
        ("Welches ist die französische Hauptstadt?", "Welches ist die spanische Hauptstadt?"),
        ("Jaka jest stolica Francji?", "Jaka jest stolica Hiszpanii?"),
        ("Vad är huvudstaden i Frankrike?", "Vad är huvudstaden i Spanien?"),
        ("Thủ đô của Pháp là gì?", "Thủ đô của Lào là gì?"),
        ("bharat ki rajdhani kya hai", "nepal ki rajdhani kya hai"),
        ("What is water?", "什么是水"),
        ("Что такое вода?", "What is voda?"),
        ("我可以抽烟吗", "我不可以抽烟吗"),
        ("Можно курить?", "Нельзя курить?"),
    ],
    "order": [
        ("Do people prefer tea over coffee?", "Do people prefer coffee over tea?"),
        ("What is the way from Rome to Paris?", "What is the way from Paris to Rome?"),
        ("convert miles to km", "convert km to miles"),
        ("convert miles into km", "convert to miles from km"),
        ("Do dogs chase cats?", "Do cats chase dogs?"),
        ("Is tea better than coffee?", "Is coffee better than tea?"),
        ("How do you know if you are in love with someone?", "How do you know if someone is in love with you?"),
        ("Is every square a rectangle?", "Is every rectangle a square?"),
        ("What percentage of 80 is 20?", "What percentage of 20 is 80?"),
        ("Does the Moon go around the Earth?", "Does the Earth go around the Moon?"),
        ("How do I export a Word document as a PDF?", "How do I export a PDF as a Word document?"),
        ("What is my brother's wife called?", "What is my wife's brother called?"),
        ("Who did Alice marry?", "Who married Alice?"),
        ("which countries were colonised by portugal", "by which countries was portugal colonised"),
        ("Which philosopher taught Aristotle?", "Which philosopher did Aristotle teach?"),
        ("How much is 100 euros in dollars?", "How much is 100 dollars in euros?"),
        ("How long after eating may I exercise?", "How long after exercising may I eat?"),
        ("Which visa does an Indian citizen need to visit Canada?", "Which visa does a Canadian citizen need to visit India?"),
    ],
    "question": [
        ("When was the wheel invented?", "Where was the wheel invented?"),
        ("Chi ha inventato la ruota?", "Perché è stata inventata la ruota?"),
        ("Who invented the wheel?", "Why was the wheel invented?"),
        ("How many wheels are there?", "Why are there wheels?"),
        ("How old is the wheel?", "How often is the wheel used?"),
        ("How do kidney stones form?", "Where do kidney stones form?"),
        ("How does one know that it is done?", "When does it end?"),
        ("how do i change the oil", "how often do i change the oil"),
        ("Which year was the treaty signed?", "Which countries signed the treaty?"),
        ("What was the name of his wife?", "What was the age of his wife?"),
        ("how many players are in a match", "how many minutes are in a match"),
    ],
}  # fmt: skip

PASSED = [
    ("How do I lose weight?", "What is the best way to lose weight?"),
    ("How can I learn chess?", "What are some ways to learn chess?"),
    ("What should I do to sleep better?", "How do I sleep better?"),
    ("How does one delete an account?", "How do I delete my account?"),
    ("I have two cats", "I have 2 cats"),
    ("a city of 1,000 people", "a city of 1000 people"),
    ("It is 1 km away", "It is 1000 m away"),
    ("How many cm are in an inch?", "How many cm is 1 inch?"),
    ("Could they have won WWII?", "Could they have won World War 2?"),
    ("give ubuntu 22.04 a fixed ip", "a fixed ip on Ubuntu 22.04"),
    ("Solve 2x + 3 = 11", "What is x if 2x plus 3 equals 11?"),
    ("Why does salt melt ice?", "How does salt melt ice?"),
    ("How much water should I drink?", "What is the recommended water intake?"),
    ("What is its height?", "How tall is it?"),
    ("How frequently do I change it?", "How often do I change it?"),
    ("how many minutes does an egg take", "How long does an egg take?"),
    ("Who do you think will win?", "Who will win?"),
    ("Who married Alice?", "Alice was married by whom?"),
    ("Who has won the most titles?", "Which man has the most titles?"),
    ("How do I train a puppy?", "How do I train my dog?"),
    ("Which tyres does my car need?", "Does this car need tyres or paint?"),
    ("When did the USSR end?", "When did the Soviet Union end?"),
    ("What is a progressive and a liberal?", "What is a liberal and a progressive?"),
    ("It is 5 km away", "It is five kilometres away"),
    ("a quarter of 10%", "a quarter of ten percent"),
    ("What is the top 10 of songs?", "What is the top of songs?"),
    ("World War II", "World War 2"),
    ("the 1st president", "the first president"),
    ("Who is the president of the USA?", "Who is the president of the United States?"),
    ("Who is the president of the US?", "Who is the U.S. president?"),
    ("What is AI?", "What is artificial intelligence?"),
    ("Why did Donald Trump win?", "Why did Trump win?"),
    ("What does India's government do?", "What does the Indian government do?"),
    ("Is the shop open in september?", "Is the shop open in Sept?"),
    ("Is the shop open now?", "Is the shop open?"),
    ("Which one is faster, A or B?", "Which one is faster, B or A?"),
    ("compare tea and coffee", "compare coffee and tea"),
    ("How do I stop worrying?", "How do I not worry?"),
    ("Why not use tea?", "Why use tea?"),
    ("What Is The Best Way To Learn Chess?", "what is the best way to learn chess"),
    ("How do I sort a list in Python 3?", "How can I sort a Python 3 list?"),
    ("what does git pull do", "What does `git pull` do?"),
    ("Wie lerne ich schnell Schach?", "Wie kann ich Schach schnell lernen?"),
    ("Come posso imparare gli scacchi?", "Come si imparano gli scacchi?"),
    ("Como aprender xadrez?", "Como posso aprender xadrez?"),
    ("Hoe leer ik schaken?", "Hoe kan ik leren schaken?"),
    ("Was ist die Hauptstadt von Frankreich?", "Wie heißt die Hauptstadt von Frankreich?"),
    ("Jaka jest stolica Francji?", "jaka jest stolica francji"),
    ("Comment apprendre les échecs ?", "Comment puis-je apprendre les échecs ?"),
    ("¿Cómo aprender ajedrez?", "¿Cómo puedo aprender ajedrez?"),
    ("Wie viel sind fünfundzwanzig Äpfel?", "Wie viel sind 25 Äpfel?"),
    ("Is Turkey in the EU?", "Is Türkiye in the EU?"),
    ("What do Spaniards eat?", "What do people eat in Spain?"),
    ("Wie lange muss man Eier kochen?", "Wie viele Minuten kocht man ein Ei?"),
    ("If humans evolved from apes, why are there apes?", "If we evolved from monkeys, why are there monkeys?"),
    ("Is he tall?", "He is tall, isn't he?"),
    ("who is erdogan", "Who's Erdoğan?"),
    ("", "x"),
]


@pytest.mark.parametrize(
    ("guard", "pair"), [(guard, pair) for guard, pairs in REFUSED.items() for pair in pairs], ids=str
)
def test_example_pairs_are_refused_by_their_guard(guard: str, pair: tuple[str, str]) -> None:
    one, other = map(TextFeatures, pair)
    assert GUARDS[guard](one, other)
    assert refusal(*pair) is not None
    assert refusal(*pair) == refusal(*reversed(pair))


@pytest.mark.parametrize("pair", PASSED, ids=str)
def test_pairs_with_the_same_meaning_pass(pair: tuple[str, str]) -> None:
    assert refusal(*pair) is None
    assert refusal(*reversed(pair)) is None


PIECES = """how do i not turn on off the tea coffee over from to 5 five km miles in Python Java May 2014 Paris France US never
`x` -a who when ? $10m ₹5rs 3pm 10% 50k 1/2 $ % + - 5-10 12:30 II $1km €5kg/day half the first second hundred a million"""
WORDS = st.sampled_from(PIECES.split())
TEXTS = st.one_of(st.lists(WORDS, max_size=12).map(" ".join), st.text(max_size=80))


@given(TEXTS, TEXTS)
def test_refusal_is_symmetric(a: str, b: str) -> None:
    assert refusal(a, b) == refusal(b, a)


@given(st.text("0123456789$€%.,:/-kmgx° one", max_size=12))
def test_refusal_is_symmetric_for_numeric_texts(text: str) -> None:
    pair = f"is it {text} today", f"was it {text} here"
    assert refusal(*pair) == refusal(*reversed(pair))


@given(TEXTS)
def test_text_is_never_refused_against_itself(text: str) -> None:
    assert refusal(text, text) is None


@given(TEXTS, TEXTS)
def test_restatements_are_not_refused(a: str, b: str) -> None:
    assert not restated(a, b) or refusal(a, b) in (None, "lines")
    again = f"  Please, {a.upper() if '`' not in a and '-' not in a and '/' not in a else a} !  "
    assert not restated(a, again) or refusal(a, again) in (None, "lines")


@given(st.lists(TEXTS, min_size=2, max_size=2))
def test_each_guard_is_symmetric(pair: list[str]) -> None:
    a, b = map(TextFeatures, pair)
    for guard in GUARDS.values():
        assert guard(a, b) == guard(b, a)


def test_long_text_passes_only_unchanged() -> None:
    text = "How do I sum up this? " + "word " * LONG
    assert refusal(text, text.upper()) is None
    assert refusal(text, text + "more") == "length"
    assert refusal(text, "How do I sum up this?") == "length"


@pytest.mark.parametrize(
    "unit", ["word ", "5 km ", "A.b ", "`x` ", "not ", "a_b", "-", "(", "Name ", "1/", "é", "one ", "from a to b "]
)
@pytest.mark.timeout(60)  # a catastrophically backtracking expression would take hours for a megabyte
def test_texts_at_the_length_limit_and_of_a_megabyte_are_fast(unit: str) -> None:
    limit, large = (unit * LONG)[:LONG], (unit * 1_000_000)[:1_000_000]
    refusal(limit, limit[: LONG // 2])
    refusal(large, large + " more")
    refusal(large, large.upper())


def test_only_the_first_of_several_lines_may_be_reworded() -> None:
    program = "what does this do?\ndef f(x):\n    return x and y"
    assert refusal(program, program.replace("what", "Please, what")) is None
    assert refusal(program, program.replace("and", "or")) == "lines"
    assert refusal(program, program.replace("x and y", "X and Y")) == "lines"
    assert refusal("What does it do?", program) == "lines"


def test_text_features_are_cached() -> None:
    game = "".join(random.choices("bdgklmnprstz", k=9))  # not cached by another test
    pair = (f"How do I learn {game} at home?", f"How can I learn {game} at home?")
    first, again = (calls(lambda: refusal(*pair)) for _ in range(2))
    assert refusal(*pair) is None
    assert again < first / 4

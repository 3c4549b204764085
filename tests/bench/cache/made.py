# ruff: noqa: E501 - tables of words
"""Questions made here, in groups that share an answer: what the prior of the decision is fitted on.

Each subject is asked for several things, and each of those in several ways; the ways of one thing are a group. Near each group lie
others that a vector hardly tells from it: the same thing of a like subject, another thing of the same subject, a condition more.
"""

from collections.abc import Iterator
from typing import NamedTuple


class Asked(NamedTuple):
    text: str
    group: int


SKILLS = """learn to swim|play the guitar|bake sourdough bread|write a novel|speak in public|learn touch typing|draw portraits
take better photos|play chess|knit a sweater|learn Python|learn Java|speak Spanish|speak French|juggle|meditate|sing in tune
solve a Rubik's cube|grow tomatoes indoors|keep bees|brew beer at home|repair a bicycle|edit videos|lose weight|gain weight
build muscle|sleep better|wake up early|stop smoking|stop drinking coffee|quit biting my nails|save money|invest in stocks
get a mortgage|sell a used car|buy a used car|start a podcast|start a small business|write a cover letter|prepare for an interview
get promoted|change my career|become a pilot|become a nurse|become a translator|get into medical school|pass the driving test
train for a marathon|make friends as an adult|get over a breakup|talk to my teenage son|raise a puppy|teach a parrot to talk"""
THINGS = """a black hole|a neutron star|a tax deduction|a capital gain|machine learning|deep learning|quantum computing|a blockchain
photosynthesis|osmosis|diffusion|inflation|deflation|a trade deficit|a mutual fund|an index fund|an operating system|a compiler
an interpreter|a virus|a bacterium|a tsunami|an earthquake|the water cycle|the carbon cycle|a sonnet|a haiku|jazz|the blues|stoicism
existentialism|a democracy|a republic|a monarchy|a patent|a trademark|a copyright|depression|anxiety|migraine|diabetes|asthma"""
PLACES = """Lisbon|Porto|Madrid|Vienna|Prague|Tokyo|Kyoto|Seoul|Nairobi|Cape Town|Toronto|Vancouver|Chicago|Boston|Mumbai|Delhi|Sydney
Melbourne|Norway|Sweden|Portugal|Canada|Japan|Brazil|Kenya|Iceland|Ireland|Scotland|Vietnam|Thailand"""
MACHINES = """my laptop|my phone|my printer|my washing machine|my dishwasher|my old car|the wifi router|my bluetooth headset|my email account
my bank account|my Instagram account|my Facebook account|my iPhone|my Android phone|my tablet|my smart TV"""

_OF_SKILLS = """How do I {}?|How can I {}?|What is the best way to {}?|What should I do to {}?|What are good ways to {}?|How does one {}?
How long does it take to {}?|How much time do I need to {}?|How many months does it take to {}?
How do I {} without spending money?|How can I {} for free?|What is a free way to {}?
Why is it so hard to {}?|What makes it difficult to {}?|Why do people struggle to {}?
Is it too late to {} at 40?|Can I {} at the age of 40?|At 40, can one still {}?
Which book should I read to {}?|What are the best books to {}?|What is a good book if I want to {}?
Should I {}?|Is it a good idea to {}?|Is it worth it to {}?
What are the mistakes of people who want to {}?|What should I avoid when I try to {}?
How did you {}?|What was it like for you to {}?|What is your story of how you came to {}?"""
_OF_THINGS = """What is {}?|What does {} mean?|How would you define {}?|What exactly is {}?|Can you explain what {} is?
What is {} in simple words?|How would you explain {} to a child?|How do I explain {} to a five year old?
How does {} work?|What is the mechanism of {}?|How does {} function?
What causes {}?|What are the causes of {}?|Why does {} happen?|What is the reason for {}?
What are the effects of {}?|What does {} lead to?|What are the consequences of {}?
What is a good example of {}?|Can you give me an example of {}?
What is the history of {}?|When was {} first described?|Who discovered {}?
What are the advantages of {}?|What are the benefits of {}?|What is good about {}?
What are the disadvantages of {}?|What are the drawbacks of {}?|What is bad about {}?"""
_OF_PLACES = """What are the best places to visit in {}?|What should I see in {}?|Which sights should one visit in {}?|What is worth seeing in {}?
What are the best places to eat in {}?|Where should I eat in {}?|What are good restaurants in {}?
What is the best time to visit {}?|When should I visit {}?|Which month is best for a trip to {}?
How expensive is it to live in {}?|What is the cost of living in {}?|How much money do I need to live in {}?
Is {} safe for tourists?|Is it safe to travel to {}?|How safe is {} for travellers?
How can I find a job in {}?|How do I get a job in {} as a foreigner?|What is the way to find work in {}?
What is it like to live in {}?|How is life in {}?|How is it to live in {}?
What is the weather like in {}?|How is the climate in {}?
What are the best schools in {}?|Which is the best school in {}?
Why do people leave {}?|Why are people moving away from {}?|Why do people move to {}?"""
_OF_MACHINES = """How do I reset {}?|How can I reset {}?|What is the way to reset {}?
How do I fix {}?|How can I repair {}?|What can I do when {} is broken?
Why is {} so slow?|What makes {} slow?|Why has {} become so slow?
Why does {} not work?|What is wrong with {}?|What could be the reason that {} is not working?
How do I make {} faster?|How can I speed up {}?|What can I do to make {} faster?
How do I sell {}?|What is the best way to sell {}?|Where can I sell {}?
How do I protect {}?|How can I keep {} safe?|What is the best way to protect {}?
How do I delete everything on {}?|How can I erase {}?|How do I wipe {}?
How do I know if somebody hacked {}?|How can I tell whether {} is hacked?"""

_APART = (
    "Who discovered {}?",
    "Why do people move to {}?",
    "Where can I sell {}?",
    "How many months does it take to {}?",
)
"""Ways that stand with others on a line and yet ask for something else: vectors hardly tell."""


def questions() -> list[Asked]:
    """All of them; group by group."""
    return [Asked(text, number) for number, ways in enumerate(_groups()) for text in ways]


def _groups() -> Iterator[list[str]]:
    for subjects, lines in ((SKILLS, _OF_SKILLS), (THINGS, _OF_THINGS), (PLACES, _OF_PLACES), (MACHINES, _OF_MACHINES)):
        for subject in subjects.replace("\n", "|").split("|"):
            for line in lines.splitlines():
                ways = line.split("|")
                yield [way.format(subject) for way in ways if way not in _APART]
                yield from ([way.format(subject)] for way in ways if way in _APART)

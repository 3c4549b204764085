"""Words that mean the opposite of each other, and words that negate; of German, French and Spanish only the commonest.

Each line is one scale: what stands left of the bar against what stands right of it. Regular inflections are made here.
"""

from functools import cache

from llmctld.semantic.words.tables import words

VERBS = """
enable activate | disable deactivate
allow permit authorize | forbid prohibit ban disallow deny block
accept approve | reject refuse decline deny
increase raise boost grow | decrease reduce lower shrink diminish
maximize maximise | minimize minimise
start begin commence launch | stop end finish quit cease
stop halt abort quit | continue carry_on proceed resume
pause | resume unpause
turn_on switch_on | turn_off switch_off
open | close shut
buy purchase | sell
lend | borrow
push | pull
add | remove delete subtract
insert | delete remove
create | destroy delete
build | demolish
install | uninstall
connect | disconnect
attach | detach
lock | unlock
block | unblock
encrypt | decrypt
encode | decode
compress | decompress uncompress
serialize | deserialize
zip | unzip
mount | unmount
load | unload
pack | unpack
wrap | unwrap
fold | unfold
follow | unfollow
subscribe | unsubscribe
friend | unfriend
mute | unmute
pin | unpin
tag | untag
like | unlike
tie | untie
screw | unscrew
stage | unstage
indent | dedent unindent outdent
undo | redo
promote | demote
evaporate | condense
acquit | convict
compile | decompile
assemble | disassemble
roll_up | roll_down
sow | harvest
hide | unhide show
upload | download
upgrade | downgrade
import | export
send | receive
give | take
win | lose
gain | lose
find | lose
pass | fail
succeed | fail
love like | hate dislike
attract | repel
cause | cure prevent
absorb | release emit
remember | forget
arrive | leave depart
enter | exit
come | go
rise | fall
ascend | descend
push_up | push_down
import | export
multiply | divide
expand | contract collapse
widen | narrow
lengthen | shorten
strengthen | weaken
heat warm | cool chill
freeze | melt thaw defrost
boil | freeze
harden | soften
tighten | loosen
lift | drop
save | spend waste
save | delete
earn | spend
create | break
repair fix | break
help | harm hurt
heal cure | infect
praise | criticize criticise blame
reward | punish
attack | defend
lead | follow
teach | learn
ask | answer
speak talk | listen
read | write
hire employ | fire dismiss
join | leave quit
marry | divorce
live | die
wake | sleep
laugh | cry
sit | stand
appear | disappear vanish
agree | disagree
approve | disapprove
believe | doubt
trust | distrust mistrust
prove | disprove
confirm | cancel
support | oppose
encourage foster | discourage prevent hinder
include | exclude
deposit | withdraw
inhale | exhale
innovate | imitate
invest | divest
hasten accelerate speed_up | delay slow_down decelerate
advance | retreat
simplify | complicate
clean | dirty pollute
fill | empty
inflate | deflate
freeze | unfreeze
register | unregister deregister
archive | unarchive
push | pop
append | prepend
sign_up subscribe | cancel unsubscribe
ignore | heed
merge | split
combine | separate
commit | revert
grant | revoke
whitelist | blacklist
opt_in | opt_out
log_in sign_in login | log_out sign_out logout
check_in | check_out
zoom_in | zoom_out
plug_in | unplug
stand_up | sit_down
wake_up | fall_asleep
scale_up | scale_down
speed_up | slow_down
gain_weight | lose_weight
pick_up | drop_off
put_on | take_off
"""

OTHERS = """
on | off
inside | outside
indoor indoors | outdoor outdoors
up | down
upward upwards | downward downwards
upstairs | downstairs
above | below
over | under
before prior | after
early earlier earliest | late later latest
first | last
with | without
for | against
more | less fewer
too_much | too_little
too_many | too_few
most | least fewest
greater | less lower smaller
uppercase upper capitals | lowercase lower
prefix | suffix
best | worst
better | worse
good | bad
great | terrible awful
positive | negative
pros advantage advantages benefit benefits upside upsides merit merits | cons disadvantage disadvantages drawback drawbacks
pros advantage advantages benefit benefits upside upsides merit merits | downside downsides demerit demerits
strength strengths | weakness weaknesses
true | false
right correct | wrong incorrect
right | left
legal | illegal
possible | impossible
always | never
all | none
everyone everybody | nobody noone
everything | nothing
everywhere | nowhere
same | different
high higher highest | low lower lowest
big bigger biggest large larger largest | small smaller smallest little tiny
long longer longest | short shorter shortest
tall taller tallest | short shorter shortest
wide wider widest broad | narrow narrower narrowest
thick thicker | thin thinner
heavy heavier heaviest | light lighter lightest
deep deeper deepest | shallow shallower
fast faster fastest quick quickly quicker quickest | slow slower slowest slowly
hot hotter hottest warm warmer | cold colder coldest cool cooler
hard harder hardest difficult | easy easier easiest
hard harder | soft softer
strong stronger strongest | weak weaker weakest
rich richer richest wealthy | poor poorer poorest
cheap cheaper cheapest | expensive costly
old older oldest | new newer newest
old older oldest | young younger youngest
ancient | modern
happy happier | sad unhappy
beautiful pretty | ugly
smart intelligent clever | stupid dumb
clean | dirty
safe safer safest | dangerous unsafe
full | empty
wet | dry
loud louder | quiet quieter
dark darker | bright brighter light
sharp | blunt dull
near nearer nearest closer closest | far farther farthest further
public | private
internal | external
maximum max maximal | minimum min minimal
major | minor
majority | minority
many | few
often frequently | rarely seldom
male man men boy boys | female woman women girl girls
he | she
husband | wife
father dad | mother mom mum
son sons | daughter daughters
brother brothers | sister sisters
king | queen
uncle | aunt
actor actors | actress actresses
parent parents | child children kid kids
teacher teachers | student students
doctor doctors | patient patients
employer employers | employee employees
landlord | tenant
buyer buyers | seller sellers
adult adults grown-up grown-ups | child children kid kids
vegetarian vegetarians | vegan vegans
winner | loser
friend friends | enemy enemies
day | night
morning mornings | evening evenings night nights tonight midnight
morning mornings | afternoon afternoons
afternoon afternoons | evening evenings night nights tonight
summer midsummer | winter midwinter
spring | autumn fall
sunrise | sunset
north northern | south southern
east eastern | west western
northeast | southwest
top | bottom
front | back rear
head | tail
start beginning | end ending
input inputs | output outputs
source | target destination
import imports | export exports
profit profits | loss losses
income revenue | expense expenses
asset assets | liability liabilities
debit | credit
supply | demand
question questions | answer answers
cause causes | effect effects
theory | practice
war | peace
love | hate
life | death
alive living | dead
birth | death
heaven | hell
success | failure
victory | defeat
hero | villain
optimist optimistic | pessimist pessimistic
introvert introverts introverted | extrovert extroverts extroverted
open | closed
online | offline
static | dynamic
mutable | immutable
synchronous sync | asynchronous async
signed | unsigned
encrypted | unencrypted plaintext
odd | even
ascending asc | descending desc
synonym synonyms | antonym antonyms
inbound incoming ingress | outbound outgoing egress
inner | outer
interior | exterior
entrance | exit
arrival arrivals | departure departures
former | latter
bullish | bearish
inflation | deflation
surplus | deficit
wholesale | retail
gross | net
benign | malignant
acute | chronic
convex | concave
numerator | denominator
inductive induction | deductive deduction
upstream | downstream
raw uncooked | cooked
rough | smooth
brave | cowardly
generous | stingy
polite | rude
tight | loose
plaintiff | defendant
anode | cathode
bride | groom bridegroom
prince princes | princess princesses
waiter | waitress
nephew nephews | niece nieces
grandfather grandpa | grandmother grandma
creditor creditors | debtor debtors
payable | receivable
latitude | longitude
systolic | diastolic
herbivore herbivores | carnivore carnivores
fiction | nonfiction
amateur amateurs | professional professionals
beginner beginners novice novices | expert experts advanced
wired | wireless
portrait | landscape
foreground | background
weekday weekdays | weekend weekends
undergraduate undergraduates | graduate postgraduate graduates postgraduates
lenient | strict
predator predators | prey
lessor | lessee
mentor | mentee
interviewer interviewers | interviewee interviewees
landline | mobile
horizontal horizontally | vertical vertically
row rows | column columns
serial | parallel
client | server
frontend | backend
absolute | relative
singular | plural
sender | receiver recipient
acid acidic | alkaline basic
vegetarian veg | nonvegetarian
single | married
guilty | innocent
guest | host
virtual | physical
digital | analog analogue
liquid | solid
local | remote global
permanent permanently | temporary temporarily
voluntary | mandatory compulsory
optional | required mandatory
manual manually | automatic automatically
urban | rural
domestic | foreign
subjective | objective
qualitative | quantitative
republican republicans | democrat democrats
breakfast | dinner
uphill | downhill
clockwise | counterclockwise anticlockwise
moral | amoral
typical | atypical
normal | abnormal
symmetric | asymmetric
plus | minus
cw | ccw
"""

GERMAN = """
mit | ohne
ja | nein
an ein | aus
links | rechts
auf öffnen | zu schließen
gut | schlecht
besser | schlechter
vor | nach
groß größer größte | klein kleiner kleinste
mehr | weniger
heiß warm | kalt
alt älter | neu jung jünger
erlauben erlaubt | verbieten verboten
beginnen beginnt beginn anfangen start starten startet | enden endet ende aufhören beenden stoppen stoppt
öffnen öffnet geöffnet offen | schließen schließt geschlossen
hoch höher höchste | niedrig niedriger niedrigste tief
lang länger längste | kurz kürzer kürzeste
schnell schneller | langsam langsamer
teuer teurer teuerste | billig billiger billigste
stark stärker | schwach schwächer
erhöhen steigern erhöht | senken verringern senkt reduzieren
installieren | deinstallieren
hinzufügen | entfernen löschen
ein einschalten | ausschalten
richtig | falsch
reich | arm
heute | morgen gestern
vorteile vorteil | nachteile nachteil
zunehmen | abnehmen
gesund | ungesund
maximal | minimal
immer | nie
aktivieren | deaktivieren
kaufen | verkaufen
"""

FRENCH = """
avec | sans
oui | non
bon meilleur | mauvais pire
avant | après
plus | moins
grand | petit
chaud | froid
acheter | vendre
activer | désactiver
augmenter | diminuer réduire
commencer commence début | finir finit fin terminer termine
ouvrir ouvre ouvert | fermer ferme fermé
haut élevé | bas
long | court
rapide | lent
cher | bon_marché
fort | faible
ajouter | supprimer enlever
vrai | faux
riche | pauvre
avantages avantage | inconvénients inconvénient
gagner | perdre
premier première | dernier dernière
toujours | jamais
gauche | droite
"""

SPANISH = """
con | sin
sí | no
bueno mejor | malo peor
antes | después
más | menos
grande | pequeño
caliente | frío
comprar | vender
activar | desactivar
aumentar subir | disminuir reducir bajar
empezar empieza comenzar comienza | terminar termina acabar acaba
abrir abre abierto | cerrar cierra cerrado
alto alta | bajo baja
largo larga | corto corta
rápido | lento
caro | barato
fuerte | débil
añadir agregar | eliminar borrar quitar
verdadero | falso
rico | pobre
ventajas ventaja | desventajas desventaja
ganar | perder
primero primera | último última
siempre | nunca
izquierda | derecha
"""

_IRREGULAR = """
begin began begun beginning
sell sold
buy bought
lend lent
give gave given
take took taken
win won winning
lose lost
find found
forget forgot forgotten forgetting
leave left
come came coming
go went gone going goes
rise rose risen
fall fell fallen
grow grew grown
shrink shrank shrunk
freeze froze frozen
spend spent
break broke broken
send sent
speak spoke spoken
teach taught
stand stood
sit sat sitting
write wrote written
wake woke woken
fix fixes
withdraw withdrew withdrawn
forbid forbade forbidden forbidding
die dying
shut shutting
hide hid hidden
split splitting
feed fed
"""

NEGATORS = {
    "en": words("non not never no none nobody nothing neither nor without nowhere cannot n't hardly barely"),
    "de": words("nicht kein keine keinen keinem keiner keines nie niemals ohne nichts niemand weder nirgends"),
    "fr": words("ne pas jamais sans aucun aucune rien ni non n"),
    "es": words("no nunca jamás sin ningún ninguna ninguno nada nadie tampoco ni"),
}

EXCHANGED = {
    "over": "under",
    "hyper": "hypo",
    "pre": "post",
    "macro": "micro",
    "inter": "intra",
    "endo": "exo",
    "mono": "poly",
}
"""Prefixes that make two opposites of one word: overactive, underactive."""

PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non", "mis", "anti", "de")


@cache
def scales(language: str) -> dict[str, tuple[tuple[int, int], ...]]:
    """Each form of a word of the language's table -> (scale, side) of all scales that it is on."""
    table: dict[str, set[tuple[int, int]]] = {}
    irregular = {line.split()[0]: line.split() for line in _IRREGULAR.strip().splitlines()}
    others = {"de": GERMAN, "fr": FRENCH, "es": SPANISH}.get(language)
    lines = [(line, False) for line in (others or OTHERS).strip().splitlines()]
    if others is None:
        lines += [(line, True) for line in VERBS.strip().splitlines()]
    for scale, (line, verbs) in enumerate(lines):
        for side, half in enumerate(line.split(" | ")):
            for word in half.split():
                for form in _forms(word, irregular) if verbs else (word,):
                    table.setdefault(form.replace("_", " "), set()).add((scale, side))
    return {word: tuple(sorted(places)) for word, places in table.items()}


def _forms(verb: str, irregular: dict[str, list[str]]) -> set[str]:
    stem, _, particle = verb.partition("_")
    forms = {stem, *irregular.get(stem, ()), *inflected(stem)}
    return {f"{form}_{particle}" if particle else form for form in forms}


def inflected(verb: str) -> set[str]:
    """The regular forms of an English verb, and some that nobody uses."""
    if verb.endswith("e"):
        return {verb + "s", verb + "d", verb[:-1] + "ing", verb + "r"}
    if verb.endswith("y") and verb[-2] not in "aeou":
        return {verb[:-1] + "ies", verb[:-1] + "ied", verb + "ing"}
    forms = {verb + "ed", verb + "ing", verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "z")) else "s")}
    if verb[-1] not in "aeiouwxy" and verb[-2] in "aeiou" and (len(verb) < 3 or verb[-3] not in "aeiou"):
        forms |= {verb + verb[-1] + "ed", verb + verb[-1] + "ing"}
    return forms


@cache
def phrase_starts(language: str) -> frozenset[str]:
    """The first words of the scales' phrases (turn on, log out)."""
    return frozenset(word.split()[0] for word in scales(language) if " " in word)

"""Units: how they are written, and how many of the base unit of its dimension one is."""

from llmctld.semantic.words.tables import words

_TABLE = """
length: mm millimeter millimeters millimetre millimetres = 0.001
length: cm centimeter centimeters centimetre centimetres zentimeter = 0.01
length: m meter meters metre metres metro metros mètre mètres = 1
length: km kms kilometer kilometers kilometre kilometres kilomètres kilómetro kilómetros = 1000
length: inch inches zoll pouce pouces pulgadas = 0.0254
length: ft foot feet fuß pieds = 0.3048
length: yd yard yards = 0.9144
length: mile miles mi meile meilen millas = 1609.344
length: lightyear lightyears = 9.4607e15
area: acre acres = 4046.86
area: hectare hectares ha hektar = 10000
area: sqft = 0.092903
mass: mg milligram milligrams milligramm = 0.001
mass: g gm gms gram grams gramm grammes gramos = 1
mass: kg kgs kilo kilos kilogram kilograms kilogramm kilogrammes kilogramos = 1000
mass: ton tons tonne tonnes tonnen toneladas = 1000000
mass: lb lbs pound pounds pfund livres libras = 453.59237
mass: oz ounce ounces unze unzen onzas = 28.3495
time: ns nanosecond nanoseconds = 1e-9
time: ms millisecond milliseconds = 0.001
time: s sec secs second seconds sekunde sekunden seconde secondes segundo segundos = 1
time: min mins minute minutes minuten minuto minutos = 60
time: h hr hrs hour hours stunde stunden heure heures hora horas = 3600
time: day days tag tage tagen jour jours día días = 86400
time: week weeks woche wochen semaine semaines semana semanas = 604800
months: month months monat monate monaten mois mes meses = 1
months: year years yr yrs jahr jahre jahren an ans année années año años = 12
months: decade decades jahrzehnt jahrzehnte = 120
months: century centuries jahrhundert jahrhunderte siècle siècles siglo siglos = 1200
volume: ml milliliter milliliters millilitre millilitres = 0.001
volume: l liter liters litre litres litro litros = 1
volume: gallon gallons gal = 3.785411784
volume: pint pints = 0.473176
volume: cup cups = 0.24
volume: tbsp tablespoon tablespoons = 0.015
volume: tsp teaspoon teaspoons = 0.005
speed: mph = 0.44704
speed: km/h kmh kmph kph = 0.277778
speed: m/s mps = 1
speed: knot knots = 0.514444
data: kb kilobyte kilobytes = 1e3
data: mb megabyte megabytes = 1e6
data: gb gigabyte gigabytes gigs = 1e9
data: tb terabyte terabytes = 1e12
data: kib = 1024
data: mib = 1048576
data: gib = 1073741824
rate: kbps = 1e3
rate: mbps = 1e6
rate: gbps = 1e9
power: w watt watts = 1
power: kw kilowatt kilowatts = 1000
power: hp horsepower = 745.7
energy: j joule joules = 1
energy: kwh = 3600000
energy: kcal kilocalories = 4184
calories: cal calorie calories kalorien = 1
frequency: hz hertz = 1
frequency: khz = 1000
frequency: mhz = 1e6
frequency: ghz = 1e9
voltage: v volt volts = 1
current: a amp amps ampere amperes = 1
current: ma milliamps = 0.001
charge: mah = 1
pixels: px pixel pixels = 1
pixels: mp megapixel megapixels = 1e6
celsius: celsius centigrade °c = 1
fahrenheit: fahrenheit °f = 1
kelvin: kelvin kelvins = 1
angle: degree degrees ° deg = 1
angle: radian radians = 57.29578
percent: % percent percentage prozent pourcent porcentaje = 1
usd: usd dollar dollars bucks dólares = 1
eur: eur euro euros = 1
gbp: gbp quid = 1
inr: inr rs rupee rupees = 1
jpy: jpy yen = 1
cny: cny yuan rmb = 1
btc: btc bitcoin bitcoins = 1
"""

UNITS: dict[str, str] = {}
"""How it is written -> the unit."""
FACTORS: dict[str, tuple[str, float]] = {}
"""The unit -> (dimension, how many of its base unit)."""

for _line in _TABLE.strip().splitlines():
    _dimension, _, _rest = _line.partition(": ")
    _names, _, _factor = _rest.partition(" = ")
    _unit = _names.split()[0]
    FACTORS[_unit] = (_dimension, float(_factor))
    UNITS |= dict.fromkeys(_names.split(), _unit)

SIGNS = {"$": "usd", "€": "eur", "£": "gbp", "₹": "inr", "¥": "jpy", "%": "%"}
UNITS |= SIGNS
GROUPS = dict.fromkeys(("celsius", "fahrenheit", "kelvin"), "temperature") | {"months": "time", "rate": "data"}
GROUPS |= dict.fromkeys(("usd", "eur", "gbp", "inr", "jpy", "cny", "btc"), "money")
"""Dimensions whose units are said in place of one another though no factor leads from one to the other."""
WRITTEN_AFTER = words(
    "m g s h l w j v a mi ha ma mp min ms cal an ans mes metro kilo kilos rs gal amp ton tons s ° % percentage"
)
"""Units only behind a number: alone these are other words, or letters."""

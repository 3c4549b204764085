"""Countries, states and cities with their people, however they are written: a row is one place under several names.

It is no atlas: other places are told by their capitals.
"""

from llmctld.semantic.words.tables import rows

PLACES = rows("""
usa us america american americans u.s united_states states
uk britain british england united_kingdom great_britain
uae emirates emirati
eu european_union
europe european europeans
asia asian asians
africa african africans
india indian indians bharat
pakistan pakistani pakistanis
bangladesh bangladeshi
nepal nepali nepalese
srilanka sri_lanka
china chinese prc
japan japanese
korea korean koreans
taiwan taiwanese
thailand thai
vietnam vietnamese
indonesia indonesian
malaysia malaysian
singapore singaporean
philippines filipino filipinos philippine
australia australian australians
newzealand new_zealand
canada canadian canadians
mexico mexican mexicans
brazil brazilian brazilians
argentina argentinian argentine
chile chilean
colombia colombian
venezuela venezuelan
peru peruvian
cuba cuban
france french
germany german germans deutschland
italy italian italians
spain spanish
portugal portuguese
netherlands dutch holland
belgium belgian
switzerland swiss
austria austrian
sweden swedish
norway norwegian
denmark danish
finland finnish
iceland icelandic
ireland irish
scotland scottish
wales welsh
poland
ukraine ukrainian
russia russian russians
ussr soviet_union soviet soviets u.s.s.r
romania romanian
hungary hungarian
greece greek greeks
bulgaria bulgarian
serbia serbian
croatia croatian
slovakia slovak
slovenia slovenian
turkish
israel israeli israelis
palestine palestinian palestinians
iran iranian iranians
iraq iraqi iraqis
syria syrian syrians
lebanon lebanese
jordanian
saudi saudis
qatar qatari
kuwait kuwaiti
oman omani
yemen yemeni
egypt egyptian egyptians
libya libyan
morocco moroccan
algeria algerian
tunisia tunisian
nigeria nigerian nigerians
niger
ghana ghanaian
kenya kenyan
ethiopia ethiopian
somalia somali
afghanistan afghan afghans
kashmir kashmiri
tibet tibetan
california californian
texas texan
florida
nyc new_york newyork
la los_angeles
sf san_francisco
chicago
boston
seattle
london
manchester
liverpool
paris
lyon
marseille
berlin
munich münchen
hamburg
frankfurt
cologne köln
vienna wien
zurich zürich
geneva genf genève
rome roma
milan milano
venice venezia
naples
florence
madrid
barcelona
lisbon
amsterdam
brussels
copenhagen
stockholm
oslo
helsinki
dublin
edinburgh
moscow
prague
budapest
warsaw
athens
istanbul
dubai
abudhabi abu_dhabi
delhi
mumbai bombay
bangalore bengaluru
chennai madras
kolkata calcutta
hyderabad
pune
noida
gurgaon gurugram
ahmedabad
jaipur
goa
kerala
gujarat gujarati
punjab punjabi
bihar bihari
tamilnadu tamil_nadu
karnataka
maharashtra
beijing
shanghai
tokyo
kyoto
osaka
seoul
bangkok
jakarta
manila
sydney
melbourne
brisbane
perth
toronto
vancouver
montreal
ottawa
miami
houston
dallas
denver
philadelphia
washington
atlanta
detroit
phoenix
cairo
alexandria
casablanca
marrakesh marrakech
tunis
algiers
tripoli
khartoum
addisababa addis_ababa
nairobi
kampala
kigali
daressalaam dar_es_salaam
zanzibar
lusaka
harare
johannesburg
capetown cape_town
durban
pretoria
lagos
abuja
accra
dakar
kinshasa
luanda
ankara
izmir
antalya
beirut
damascus
amman
jerusalem
telaviv tel_aviv
baghdad
tehran teheran
riyadh
jeddah
mecca makkah
medina madinah
doha
muscat
kabul
islamabad
karachi
lahore
rawalpindi
peshawar
dhaka
kathmandu
colombo
lucknow
kanpur
nagpur
indore
bhopal
patna
chandigarh
surat
varanasi
agra
udaipur
kochi cochin
mysore mysuru
coimbatore
visakhapatnam vizag
darjeeling
rajasthan
odisha orissa
assam
yangon rangoon
hanoi
saigon ho_chi_minh_city
danang da_nang
phuket
chiangmai chiang_mai
phnompenh phnom_penh
kualalumpur kuala_lumpur kl
bali
taipei
hongkong hong_kong
macau macao
shenzhen
guangzhou canton
wuhan
chengdu
chongqing
tianjin
nanjing
hangzhou
xian xi'an
nagoya
sapporo
fukuoka
hiroshima
yokohama
busan
pyongyang
ulaanbaatar
tashkent
almaty
astana
baku
tbilisi
yerevan
adelaide
canberra
hobart
auckland
wellington
christchurch
queenstown
honolulu
hawaii hawaiian
alaska alaskan
anchorage
lasvegas las_vegas vegas
sandiego san_diego
sanjose san_jose
sanantonio san_antonio
sacramento
fresno
portland
austin
orlando
tampa
jacksonville
charlotte
nashville
memphis
neworleans new_orleans
baltimore
pittsburgh
cleveland
cincinnati
columbus
indianapolis
milwaukee
minneapolis
stlouis st_louis saint_louis
kansascity kansas_city
tucson
albuquerque
saltlakecity salt_lake_city
ohio
michigan
illinois
colorado
arizona
nevada
oregon
utah
virginia
maryland
massachusetts
connecticut
minnesota
wisconsin
tennessee
kentucky
alabama
louisiana
oklahoma
newjersey new_jersey
pennsylvania
calgary
edmonton
winnipeg
halifax
quebec québec
ontario
alberta
tijuana
cancun cancún
guadalajara
monterrey
havana
kingston
panama panamanian
costarica costa_rica
guatemala
honduras
nicaragua
elsalvador el_salvador
jamaica jamaican
haiti haitian
dominicanrepublic dominican_republic
puertorico puerto_rico
bogota bogotá
medellin medellín
cartagena
caracas
quito
ecuador
lima
cusco cuzco
lapaz la_paz
bolivia bolivian
paraguay
uruguay
montevideo
santiago
buenosaires buenos_aires
riodejaneiro rio_de_janeiro rio
saopaulo são_paulo sao_paulo
brasilia
salvador
lille
nice
bordeaux
toulouse
strasbourg
nantes
montpellier
cannes
avignon
normandy
corsica
monaco
luxembourg
bruges brugge
antwerp
ghent gent
rotterdam
utrecht
thehague the_hague
leipzig
dresden
stuttgart
düsseldorf dusseldorf
dortmund
bremen
hanover hannover
nuremberg nürnberg
heidelberg
freiburg
bavaria
salzburg
innsbruck
graz
basel
bern
lausanne
lucerne luzern
liechtenstein
turin torino
bologna
genoa genova
verona
pisa
palermo
sicily
sardinia
tuscany
vatican
malta maltese
seville sevilla
valencia
granada
malaga málaga
bilbao
ibiza
mallorca majorca
tenerife
porto
algarve
madeira
birmingham
leeds
sheffield
bristol
nottingham
newcastle
glasgow
cardiff
belfast
galway
bergen
trondheim
gothenburg göteborg
malmö malmo
aarhus
tampere
turku
reykjavik
tallinn
estonia estonian
riga
latvia latvian
vilnius
lithuania lithuanian
krakow kraków cracow
gdansk gdańsk
wroclaw wrocław
brno
czechia czech czech_republic
bratislava
ljubljana
zagreb
dubrovnik
belgrade
sarajevo
bosnia bosnian
montenegro
kosovo
albania albanian
tirana
macedonia
skopje
sofia
bucharest
transylvania
moldova
chisinau
kyiv kiev
odessa odesa
lviv
minsk
belarus
petersburg saint_petersburg st_petersburg
siberia
thessaloniki
crete
santorini
mykonos
rhodes
cyprus
nicosia
zimbabwe
zambia
uganda
tanzania
rwanda
botswana
namibia
mozambique
madagascar
mauritius
maldives
seychelles
senegal
mali
cameroon
congo
angola
sudan
southafrica south_africa
northkorea north_korea
southkorea south_korea
mongolia mongolian
kazakhstan
uzbekistan
turkmenistan
azerbaijan
armenia armenian
myanmar burma
laos
cambodia cambodian
bhutan
brunei
bahrain
fiji
samoa
greenland
antarctica
mars martian
venus
jupiter
saturn
uranus
neptune
pluto
christianity christian christians
islam muslim muslims islamic
hinduism hindu hindus
judaism jewish jews jew
buddhism buddhist buddhists
sikhism sikh sikhs
catholic catholics catholicism
protestant protestants
""")

"""Names that are known however they are written: places with their people, companies, products, networks, people of history.

A row is one thing under several names. It is no encyclopaedia: other names are told by their capitals.
"""

from llmctld.cache.semantic.tables import rows, words

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

THINGS = rows("""
vim vi neovim
emacs
vscode vs_code visual_studio_code
notepad
sublime
eclipse
intellij
pycharm
xcode
tmux
zsh
powershell
chromium
edge
opera
brave
thunderbird
slack
discord
zoom
teams
trello
jira
notion
evernote
figma
canva
blender
gimp
inkscape
autocad
solidworks
libreoffice
openoffice
salesforce
zapier
stripe
cassandra
kafka
rabbitmq
elasticsearch
nginx
apache
tomcat
jenkins
ansible
terraform
npm
yarn
pip
conda
webpack
vite
svelte
nextjs next.js
spring
symfony
fastapi
pandas
numpy
scipy
matlab
spark
airflow
snowflake
bigquery
heroku
netlify
vercel
centos
redhat rhel
arch
gentoo
freebsd
openbsd
kindle
roku
fitbit
garmin
gopro
bluetooth
wifi wi-fi
ethernet
usb
hdmi
visa
mastercard
amex
hsbc
icici
hdfc
airtel
jio
vodafone
verizon
comcast
t-mobile
hyundai
nissan
mazda
subaru
volvo
porsche
jaguar
fedex
ups
dhl
boeing
airbus
lufthansa
ryanair
google
microsoft
amazon
facebook fb
twitter
instagram insta ig
whatsapp
snapchat
tiktok
youtube yt
linkedin
pinterest
reddit
quora
tumblr
tinder
telegram
skype
viber
wechat
wikipedia
netflix
spotify
uber
lyft
airbnb
paypal
ebay
flipkart
snapdeal
paytm
alibaba
walmart
ikea
adobe
photoshop
illustrator
oracle
intel
amd
nvidia
qualcomm
cisco
dell
lenovo
asus
acer
sony
samsung
nokia
motorola
xiaomi
huawei
oneplus
htc
lg
tesla
toyota
honda
bmw
audi
mercedes
volkswagen vw
ferrari
nike
adidas
pepsi
starbucks
mcdonalds mcdonald's
iphone
ipad
macbook
imac
ios
android
windows
linux
ubuntu
debian
fedora
macos osx
chrome
firefox
safari
gmail
hotmail
outlook
icloud
dropbox
onedrive
siri
alexa
cortana
xbox
playstation ps4 ps5
nintendo
minecraft
fortnite
pokemon pokémon
excel
powerpoint
wordpress
drupal
joomla
shopify
magento
mysql
postgresql postgres
mongodb
sqlite
redis
docker
kubernetes k8s
aws
azure
gcp
github
gitlab
bitbucket
django
flask
rails
laravel
react reactjs react.js
angular angularjs
vue vuejs vue.js
nodejs node.js
jquery
tensorflow
pytorch
keras
hadoop
chatgpt
claude
gemini
bitcoin bitcoins btc
ethereum eth
litecoin
dogecoin
aristotle
plato
socrates
shakespeare
einstein
newton
darwin
mozart
beethoven
bach
napoleon
hitler
stalin
lenin
churchill
gandhi
nehru
modi
obama
trump
hillary clinton
putin
merkel
messi
ronaldo
neymar
kohli
dhoni
sachin tendulkar
federer
nadal
djokovic
beyonce beyoncé
rihanna
madonna
batman
superman
spiderman
hulk
wwii ww2 wwii. second_world_war world_war_ii world_war_2 world_war_two 2nd_world_war
wwi ww1 first_world_war world_war_i world_war_1 world_war_one 1st_world_war
wwiii ww3 third_world_war world_war_iii world_war_3 world_war_three 3rd_world_war
mcat
gmat
gre
ielts
toefl
upsc
gate
jee
neet
ssc
mba
btech b.tech
mtech m.tech
phd ph.d
mit
stanford
harvard
yale
princeton
oxford
cambridge
iit iits
nit nits
iim iims
nasa
isro
fbi
cia
mi6
nato
""")

KNOWN = PLACES | THINGS

PHRASES = {name: first for name, first in KNOWN.items() if " " in name}
"""The names of more than one word."""

FIRSTS = frozenset(name.split()[0] for name in PHRASES)

AMBIGUOUS = words(
    """
    us la sf eu states dutch wales oman chile niger perth dallas phoenix florence naples mars mercury venus saturn amazon
    windows chrome safari outlook oracle excel react rails flask dell uber tinder telegram gate mit cia ssc gre neet trump
    bach plato newton modi hulk gemini claude alexa illustrator eth ig yt lg goa hamburg cologne manchester
    edge opera brave slack discord zoom teams notion stripe spring arch spark ups jaguar visa blender sublime eclipse canva pip
    yarn apache cassandra snowflake pandas kindle vi mazda
    """
)
"""Names only when they are written with a capital: in small letters they are, or may be, other words."""

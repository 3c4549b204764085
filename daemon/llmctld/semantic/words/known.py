"""Names that are known however they are written: places with their people, companies, products, networks, people of history.

A row is one thing under several names. It is no encyclopaedia: other names are told by their capitals.
"""

from llmctld.semantic.words.places import PLACES
from llmctld.semantic.words.tables import rows, words

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
nodejs node.js node
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

PEOPLE = words(
    """
    mozart beethoven haydn chopin schubert schumann brahms vivaldi handel tchaikovsky wagner verdi puccini debussy ravel liszt
    mendelssohn dvorak mahler stravinsky rachmaninoff shostakovich rembrandt vermeer picasso monet manet renoir degas matisse
    cezanne gauguin dali kahlo michelangelo raphael botticelli caravaggio titian goya klimt munch warhol shakespeare dickens
    tolstoy dostoevsky chekhov pushkin kafka goethe schiller cervantes hemingway orwell huxley tolkien rowling austen bronte
    joyce wilde twain poe melville steinbeck fitzgerald faulkner hugo dumas balzac flaubert proust camus sartre homer virgil dante
    einstein galileo kepler copernicus faraday maxwell bohr heisenberg schrodinger feynman hawking curie pasteur mendel
    edison tesla archimedes euclid pythagoras euler gauss riemann fermat pascal descartes leibniz turing socrates aristotle kant
    hegel nietzsche marx hume spinoza wittgenstein confucius freud jung napoleon caesar augustus nero cleopatra hannibal lincoln
    washington jefferson roosevelt churchill thatcher stalin lenin gorbachev hitler mussolini franco gandhi nehru mandela
    kilimanjaro elbrus everest denali aconcagua matterhorn vesuvius etna annapurna fuji danube rhine thames seine volga
    loire tiber amazon mississippi yangtze ganges euphrates tigris mekong pacific atlantic arctic antarctic baltic caspian
    """
)
"""By their last names, with mountains and waters."""

KNOWN = PLACES | dict(zip(PEOPLE, PEOPLE, strict=True)) | THINGS

PHRASES = {name: first for name, first in KNOWN.items() if " " in name}
"""The names of more than one word."""

FIRSTS = frozenset(name.split()[0] for name in PHRASES)

AMBIGUOUS = words(
    """
    us la sf eu states dutch wales oman chile niger perth dallas phoenix florence naples mars mercury venus saturn amazon
    windows chrome safari outlook oracle excel react rails flask dell uber tinder telegram gate mit cia ssc gre neet trump
    bach plato newton modi hulk gemini claude alexa illustrator eth ig yt lg goa hamburg cologne manchester
    edge opera brave slack discord zoom teams notion stripe spring arch spark ups jaguar visa blender sublime eclipse canva pip
    yarn apache cassandra snowflake pandas kindle vi mazda alexandria lima nice rio salvador surat mali charlotte austin orlando
    portland columbus virginia wellington kingston hanover rhodes canton bristol medina muscat granada darwin sofia santiago
    porto madeira gent newcastle genoa cleveland kl bergen bern turin node
    """
)
"""Names only when they are written with a capital: in small letters they are, or may be, other words."""

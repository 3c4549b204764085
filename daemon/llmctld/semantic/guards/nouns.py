"""Common nouns by kind: a cat is no dog, butter is no margarine, grep is no sed; a car and its paint say nothing of each other.

A kind is what people ask the same question about. Left out are words for a whole kind ("animal"), and words that mostly
mean something else; words that people use for one another are one thing.
"""

from collections.abc import Sequence

_KINDS = {
    "animal": """
        cat kitten kitty, dog puppy pup pitbull pit_bull bulldog labrador, hamster, guinea_pig, rabbit bunny, gerbil,
        ferret, parrot, budgie parakeet, canary, goldfish, tortoise turtle, turtle, horse pony, donkey, mule, cow cattle,
        bull, goat, sheep lamb, pig piglet, chicken hen, rooster, duck, goose geese, turkey, pigeon dove, owl, eagle,
        hawk, falcon, crow raven, sparrow, swan, penguin, ostrich, peacock, seagull, woodpecker, hummingbird, lion, tiger,
        leopard, cheetah, panther, jaguar, wolf wolves, fox, bear, panda, elephant, giraffe, zebra, rhino rhinoceros,
        hippo hippopotamus, gorilla, chimpanzee chimp, monkey, kangaroo, koala, camel, deer, moose, squirrel, hedgehog,
        raccoon, skunk, badger, beaver, otter, mole, rat, mouse mice, bat, snake, lizard, gecko, crocodile, alligator,
        frog, toad, whale, dolphin, shark, octopus, squid, jellyfish, crab, lobster, shrimp prawn, starfish, bee honeybee,
        bumblebee, wasp, hornet, ant, termite, mosquito, housefly, fruit_fly, spider, scorpion, tick, flea, louse lice,
        bedbug bed_bug, cockroach roach, butterfly, moth, caterpillar, ladybug ladybird, grasshopper, dragonfly, beetle,
        centipede, snail, slug, earthworm, aphid, llama, alpaca, buffalo, bison, hyena, pelican, flamingo, stingray,
        seahorse, salamander
    """,
    "plant": """
        rose, hydrangea, tulip, lily, orchid, daisy, sunflower, lavender, daffodil, peony, geranium, begonia, petunia,
        marigold, carnation, chrysanthemum, dahlia, jasmine, hibiscus, magnolia, lilac, azalea, rhododendron, camellia,
        fuchsia, clematis, wisteria, iris, poppy, pansy, violet, snowdrop, crocus, hyacinth, foxglove, dandelion, nettle,
        clover, ivy, fern, moss, cactus cacti, succulent, aloe aloe_vera, bamboo, bonsai, monstera, oak, pine, maple,
        birch, willow, beech, spruce, cedar, eucalyptus, holly, boxwood, basil, mint, rosemary, thyme, parsley, cilantro
        coriander, sage, oregano, dill, chive, tomato, potato, strawberry, blueberry, raspberry, grape grapevine, lemon,
        apple, cherry, pear, plum, peach, fig, olive, avocado, pumpkin, zucchini courgette, cucumber, pepper, chili
        chilli, garlic, onion, carrot, lettuce, spinach, rhubarb, asparagus, pea
    """,
    "food": """
        apple, pear, banana, mango, grape, cherry, plum, peach, apricot, nectarine, lemon, lime, grapefruit, tangerine
        mandarin, pineapple, papaya, guava, kiwi, watermelon, melon, strawberry, raspberry, blueberry, blackberry,
        cranberry, gooseberry, pomegranate, fig, coconut, avocado, raisin, rhubarb, lychee, passionfruit, potato,
        sweet_potato, tomato, carrot, onion, garlic, leek, cabbage, cauliflower, broccoli, spinach, kale, lettuce, celery,
        cucumber, zucchini courgette, eggplant aubergine brinjal, pumpkin, beetroot beet, radish, turnip, parsnip,
        asparagus, artichoke, mushroom, corn sweetcorn, lentil red_lentil dal, chickpea garbanzo hummus, black_bean,
        kidney_bean, soybean soya soy, pea, rice, brown_rice, quinoa, couscous, bulgur, oat oatmeal porridge, barley,
        millet, rye, buckwheat, pasta spaghetti macaroni, noodle, bread toast, almond, cashew, walnut, pistachio,
        hazelnut, peanut, pecan, chia, flaxseed flax, sesame, chicken chicken_breast, beef steak, pork, lamb, mutton,
        turkey, duck, bacon, ham, sausage, salmon, tuna, cod, trout, mackerel, sardine, herring, halibut, shrimp prawn,
        lobster, crab, mussel, oyster, squid calamari, egg, tofu, paneer, cheese, yogurt yoghurt curd, cream, ice_cream,
        sour_cream, butter, peanut_butter, margarine, ghee, lard, mayonnaise mayo, ketchup, mustard, vinegar, soy_sauce,
        honey, jam, olive_oil, sunflower_oil, coconut_oil, rapeseed_oil canola_oil, sesame_oil, palm_oil, vegetable_oil,
        castor_oil, peanut_oil, pizza, burger hamburger, sandwich, taco, burrito, sushi, curry, soup, stew, salad, lasagna
        lasagne, risotto, paella, omelette omelet, pancake, waffle, cake, cheesecake, cupcake, muffin, brownie, cookie
        biscuit, pie, croissant, bagel, doughnut donut, pudding, chocolate, french_fries, popcorn, biryani, dosa, idli,
        naan, chapati roti, pancetta, flour, sugar, salt, pepper, cinnamon, turmeric, ginger, cumin, cardamom, clove,
        nutmeg, saffron, paprika, vanilla, yeast, baking_soda, baking_powder, gelatin, cornstarch cornflour, gluten,
        molasses, maple_syrup
    """,
    "drink": """
        coffee, espresso, cappuccino, latte, tea chai, green_tea tea chai, black_tea tea chai, milk, oat_milk,
        almond_milk, soy_milk, coconut_milk, juice, orange_juice, lemonade, cola coke, pepsi, beer, red_wine wine,
        white_wine wine, champagne, whisky whiskey bourbon, vodka, rum, gin, tequila, brandy cognac, cider, sake,
        cocktail, smoothie, cocoa hot_chocolate, kombucha, energy_drink
    """,
    "household": """
        dishwasher, fridge refrigerator, freezer, oven, microwave, stove cooker hob, washing_machine washer, dryer
        tumble_dryer, toaster, kettle, blender, mixer, food_processor, air_fryer, rice_cooker, pressure_cooker
        instant_pot, slow_cooker, coffee_maker coffee_machine, juicer, vacuum vacuum_cleaner hoover, iron, heater,
        radiator, boiler, water_heater, air_conditioner ac aircon, dehumidifier, humidifier, thermostat, smoke_detector
        smoke_alarm, doorbell, sewing_machine, lawnmower lawn_mower, chainsaw, frying_pan skillet, wok, saucepan, knife
        knives, spoon, fork, cup mug, sofa couch, chair armchair, bed, mattress, pillow, blanket duvet, carpet rug,
        curtain, bookshelf bookcase, wardrobe closet, desk, table, lamp, mirror, sink, toilet, bathtub bath, shower,
        faucet tap, chimney, fireplace
    """,
    "room": """
        kitchen, bathroom, bedroom, living_room lounge, dining_room, garage, basement cellar, attic loft, balcony,
        hallway, garden backyard yard, office
    """,
    "clothing": """
        shirt, t-shirt tshirt tee, jeans, trousers pants, shorts, skirt, dress, sweater jumper pullover, hoodie, jacket,
        coat, suit, tie necktie, bow_tie, sock, shoe sneaker trainer, boot, sandal, glove, scarf, hat cap, bra, underwear,
        ring, necklace, bracelet, earring, sari saree, kimono, leather, silk, wool, cotton, linen, suede, denim,
        polyester, velvet, cashmere
    """,
    "vehicle": """
        car automobile, truck lorry, van, bus, train, tram, bicycle bike, motorcycle motorbike bike, moped scooter,
        scooter, boat, ship, yacht, canoe, kayak, plane airplane aeroplane aircraft, helicopter, tractor, caravan, taxi
        cab, subway metro, ferry, submarine, rocket, drone, skateboard, hot_air_balloon, glider, hovercraft, ambulance
    """,
    "device": """
        laptop computer notebook, desktop computer, phone smartphone mobile cellphone cell iphone android, tablet ipad,
        printer, scanner, router, modem, keyboard, mouse mice, headphones earphones headset earbuds, tv television, camera
        webcam, projector, smartwatch, calculator, microphone mic, usb_stick flash_drive pendrive usb_drive, ssd
        hard_drive, hdd hard_drive hard_disk, cpu processor, gpu graphics_card
    """,
    "material": """
        gold, silver, copper, iron, steel stainless_steel, aluminium aluminum, tin, zinc, nickel, titanium, platinum,
        brass, bronze, tungsten, chromium, cobalt, magnesium, mercury, uranium, plutonium, lithium, wood timber, glass,
        plastic, concrete, cement, marble, granite, limestone, sandstone, slate, quartz, ceramic, porcelain, rubber,
        leather, cardboard, wax candle_wax, diamond, ruby, emerald, sapphire, opal, amber, pearl, jade, graphite,
        asbestos, silicone
    """,
    "chemical": """
        ethanol ethyl_alcohol, methanol methyl_alcohol, isopropanol isopropyl_alcohol, acetone, benzene, toluene, glycerol
        glycerin glycerine, formaldehyde, ammonia, bleach, hydrogen_peroxide, hydrogen, helium, oxygen, ozone, nitrogen,
        carbon_dioxide co2, carbon_monoxide, methane, ethane, propane, butane, chlorine, fluorine, bromine, iodine,
        sodium, potassium, calcium, phosphorus, sulfur sulphur, sulfuric_acid sulphuric_acid, hydrochloric_acid,
        nitric_acid, acetic_acid, citric_acid, sodium_chloride, sodium_hydroxide, sodium_bicarbonate, calcium_carbonate,
        argon, neon, glucose, fructose, sucrose, lactose, petrol gasoline, diesel, kerosene, lpg, cng, magnesium, iron,
        zinc, silicon, proton, neutron, electron, photon
    """,
    "medicine": """
        paracetamol acetaminophen tylenol, ibuprofen advil, aspirin, naproxen aleve, diclofenac, codeine, morphine,
        oxycodone, tramadol, fentanyl, penicillin, amoxicillin, azithromycin, doxycycline, ciprofloxacin, metformin,
        insulin, ozempic semaglutide, statin atorvastatin, lisinopril, amlodipine, metoprolol, warfarin, omeprazole,
        prednisone, cortisone, melatonin, xanax alprazolam, valium diazepam, prozac fluoxetine, zoloft sertraline, lexapro
        escitalopram, adderall, ritalin methylphenidate, viagra sildenafil, benadryl diphenhydramine, cetirizine zyrtec,
        loratadine claritin, antihistamine, antibiotic, antidepressant, laxative, caffeine, nicotine, cannabis marijuana
        weed pot, cocaine, heroin, lsd acid, mdma ecstasy, ketamine, methamphetamine meth, creatine, magnesium, iron,
        zinc, calcium
    """,
    "disease": """
        flu influenza, common_cold, covid covid-19 coronavirus, pneumonia, bronchitis, asthma, tuberculosis tb, malaria,
        dengue, chikungunya, typhoid, cholera, hepatitis, measles, mumps, chickenpox chicken_pox, shingles, smallpox,
        polio, tetanus, rabies, ebola, zika, hiv aids, herpes, gonorrhea, syphilis, chlamydia, cancer, leukemia, lymphoma,
        diabetes, hypertension, arthritis, gout, osteoporosis, scoliosis, anemia anaemia, migraine, epilepsy, alzheimer
        alzheimer's, dementia, parkinson parkinson's, multiple_sclerosis, als, autism, adhd, dyslexia, depression,
        anxiety, schizophrenia, bipolar, ocd, ptsd, anorexia, bulimia, insomnia, sleep_apnea, acne pimple, eczema,
        psoriasis, dandruff, ringworm, wart, sunburn, constipation, diarrhea diarrhoea, heartburn acid_reflux gerd,
        nausea, gastritis, appendicitis, hernia, hemorrhoid haemorrhoid piles, kidney_stone, gallstone, uti, pcos,
        endometriosis, stroke, heart_attack, hangover, toothache, headache, earache, sore_throat, tonsillitis, sinusitis,
        hay_fever, conjunctivitis pink_eye, tinnitus, vertigo, sprain, fracture, cough, fever
    """,
    "body": """
        ankle, knee, hip, shoulder, elbow, wrist, finger, thumb, toe, foot feet, leg, arm, neck, throat, ear, eye, nose,
        lip, tongue, tooth teeth, jaw, chin, forehead, eyebrow, eyelash, cheek, belly stomach abs, chest, thigh, calf
        calves, heel, nail, bicep, tricep, glute
    """,
    "organ": """
        lung, liver, kidney, spleen, pancreas, bladder, intestine bowel, appendix, thyroid, prostate, uterus, ovary,
        retina
    """,
    "sport": """
        football soccer, american_football, cricket, tennis, table_tennis ping_pong, badminton, squash, basketball,
        volleyball, baseball, softball, hockey ice_hockey field_hockey, rugby, golf, boxing, wrestling, judo, karate,
        taekwondo, fencing, swimming, surfing, rowing, sailing, skiing, snowboarding, ice_skating, cycling, running
        jogging, marathon, gymnastics, yoga, pilates, climbing, archery, bowling, billiards pool snooker, darts, chess,
        checkers, poker, blackjack, sudoku, scrabble, handball
    """,
    "instrument": """
        guitar, electric_guitar, bass_guitar, ukulele, banjo, violin fiddle, viola, cello, harp, piano, keyboard,
        accordion, harmonica, flute, recorder, clarinet, oboe, bassoon, saxophone, trumpet, trombone, tuba, drum, tabla,
        sitar, xylophone, bagpipes
    """,
    "relative": """
        mother mom mum, father dad, brother, sister, son, daughter, uncle, aunt, cousin, nephew, niece, grandmother
        grandma granny, grandfather grandpa, husband, wife, boyfriend, girlfriend, fiancé fiance, fiancée fiancee,
        mother-in-law, father-in-law, boss, roommate flatmate, colleague coworker, neighbour neighbor
    """,
    "profession": """
        lawyer attorney, doctor physician, nurse, surgeon, dentist, pharmacist, vet veterinarian, teacher, accountant,
        architect, electrician, plumber, carpenter, mechanic, chef cook, baker, barber, tailor, farmer, pilot, sailor,
        soldier, firefighter, policeman, detective, judge, journalist, photographer, translator, librarian,
        civil_engineer, mechanical_engineer, electrical_engineer, software_engineer software_developer programmer,
        data_scientist, psychologist, psychiatrist, physicist, chemist, biologist, mathematician, economist, astronaut,
        actor, singer, dancer, painter, bartender, cashier, secretary
    """,
    "subject": """
        physics, chemistry, biology, mathematics math maths, history, geography, economics, philosophy, psychology,
        sociology, astronomy, geology, law, medicine, accounting, algebra, geometry, calculus, trigonometry, statistics,
        probability, linguistics, anthropology, mechanical_engineering, civil_engineering, electrical_engineering,
        chemical_engineering, aerospace_engineering, computer_science
    """,
    "colour": """
        red, blue, green, yellow, orange, purple, pink, brown, black, white, gray grey, beige, turquoise, magenta, teal,
        maroon, indigo, khaki, ivory, blonde blond
    """,
    "heavenly body": """
        sun, moon, earth, mercury, venus, mars, jupiter, saturn, uranus, neptune, pluto, black_hole, comet, asteroid
    """,
    "weather": """
        rain, snow, hail, fog, thunder, lightning, tornado, hurricane cyclone typhoon, earthquake, tsunami, volcano,
        drought
    """,
    "command": """
        grep rg, sed, awk, tar, rsync, scp, curl, wget, ssh, chmod, chown, htop, df, du, cron crontab, xargs, mkdir,
        rmdir, systemctl systemd, journalctl, iptables, ufw, ping, traceroute, netstat, cmake, gcc, clang, gdb, lldb,
        strace, nohup
    """,
    "editor": """
        vim vi neovim nvim, emacs, nano, vscode vs_code visual_studio_code, sublime sublime_text, notepad++, notepad,
        gedit, kate
    """,
    "shell": "bash, zsh, fish, powershell, tcsh, ksh, cmd command_prompt",
    "version control": "git, mercurial hg, svn subversion, perforce, cvs",
    "packager": """
        npm, yarn, pnpm, bun, pip, conda, poetry, pipenv, uv, apt apt-get, dnf, yum, pacman, zypper, apk, brew homebrew,
        snap, flatpak, cargo, maven, gradle, composer, nuget, chocolatey, winget
    """,
    "database": """
        mysql mariadb, postgresql postgres psql, sqlite, mongodb mongo, redis, memcached, cassandra, oracle, sql_server
        mssql, dynamodb, elasticsearch, neo4j, clickhouse, duckdb, snowflake, bigquery, firestore, couchdb, influxdb
    """,
    "web server": "nginx, apache httpd, caddy, haproxy, traefik, iis, tomcat, lighttpd, gunicorn, varnish",
    "system": """
        windows, macos osx os_x mac, linux, ubuntu, debian, fedora, centos, arch arch_linux, gentoo, mint linux_mint,
        manjaro, alpine, opensuse suse, rhel redhat, freebsd, openbsd, android, ios, chromeos chromebook, kali raspbian
    """,
    "library": """
        react, angular, vue, svelte, jquery, django, flask, fastapi, rails, laravel, spring spring_boot, pandas, polars,
        numpy, pytorch, tensorflow, keras, jax, selenium, playwright, pytest, unittest, junit, jest, tkinter, pygame,
        matplotlib, seaborn
    """,
    "container": """
        docker, podman, kubernetes k8s, helm, vagrant, virtualbox, vmware, lxc, ansible, terraform, puppet, jenkins
    """,
    "format": """
        pdf, csv, tsv, json, xml, yaml yml, toml, ini, docx doc word_document, xlsx xls, pptx ppt, txt text_file, rtf,
        odt, png, jpg jpeg, gif, svg, webp, tiff, bmp, heic, mp3, wav, flac, aac, mp4, avi, mkv, webm, epub, mobi, zip,
        rar, 7z, gz gzip, html, markdown, latex, parquet, iso, exe, apk, msi, protobuf, avro
    """,
    "protocol": """
        tcp, udp, http, https, ftp, ftps, sftp, ssh, telnet, smtp, imap, pop3, dns, dhcp, icmp, tls ssl, mqtt, amqp, grpc,
        websocket, graphql, soap, oauth, saml, jwt, ipv4, ipv6, snmp, ntp, ldap, bluetooth, wifi wi-fi, ethernet, 4g, 5g
    """,
    "data structure": """
        array, tuple, dictionary dict, linked_list, stack, queue, heap, hash_table hashmap, binary_tree, graph, dataframe
    """,
    "algorithm": """
        quicksort, mergesort merge_sort, bubble_sort, heapsort, insertion_sort, binary_search, bfs, dfs, dijkstra, md5,
        sha-1 sha1, sha-256 sha256, aes, rsa
    """,
    "shape": """
        circle, sphere, triangle, square, rectangle, cube, cylinder, cone, pyramid, trapezoid trapezium, parallelogram,
        rhombus, ellipse oval, pentagon, hexagon, octagon, prism, torus, parabola, hyperbola
    """,
    "function": """
        sine sin, cosine cos, tangent tan, logarithm log, median, variance, standard_deviation, derivative, integral
    """,
    "part of speech": "noun, verb, adjective, adverb, pronoun, preposition, conjunction, article",
    "text": """
        poem haiku sonnet limerick, short_story, essay, novel, song, resume cv, cover_letter, email mail, tweet, speech,
        eulogy, birthday_card, toast, joke, riddle, invoice
    """,
    "instruction": """
        summarize summarise summary, translate translation, proofread, criticize criticise critique, shorten, lengthen expand,
        explain describe, rewrite rephrase paraphrase, review, rate, reverse, classify, simplify, transcribe
    """,
    "frequency": "always, sometimes, never, usually, rarely seldom",
    "occasion": """
        wedding, funeral, birthday, anniversary, graduation, baby_shower, christening, bar_mitzvah, housewarming
    """,
    "building": """
        hospital, school, church, mosque, synagogue, library, museum, airport, train_station, supermarket, pharmacy, bank
    """,
}  # fmt: skip
"""Kind -> its things, between commas: each the words for it, the first its name, an underscore for a space. A word of two things
is either."""

Noun = tuple[str, str]
"""The kind of a thing, and its name."""


def plural(word: str) -> str:
    """The regular plural of an English noun."""
    if word.endswith("y") and word[-2] not in "aeou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "sh", "ch", "x", "z", "ato")) else "s")


def _by_word() -> dict[str, frozenset[Noun]]:
    """Each word and phrase, in singular and plural -> the things that it may be."""
    table: dict[str, set[Noun]] = {}
    listed = {word for things in _KINDS.values() for word in things.replace(",", " ").split()}
    for kind, things in _KINDS.items():
        for thing in things.split(","):
            first, *others = (word.replace("_", " ") for word in thing.split())
            for word in (first, *others):
                for form in (word, plural(word)):
                    if form == word or form not in listed:  # https is no two http
                        table.setdefault(form, set()).add((kind, first))
    return {word: frozenset(things) for word, things in table.items()}


_NOUNS = _by_word()
_STARTS = frozenset(word.split()[0] for word in _NOUNS if " " in word)


def nouns(folded: Sequence[str]) -> set[Noun]:
    """The things that a folded English text names, by their longest names: what is a peanut butter is no butter."""
    found: set[Noun] = set()
    end = 0
    for at, word in enumerate(folded):
        if at < end:
            continue
        word = word[:-2] if word.endswith("'s") and word not in _NOUNS else word
        if word in _STARTS:
            for length in (3, 2):
                phrase = " ".join(folded[at : at + length])
                if phrase in _NOUNS:
                    word, end = phrase, at + length
                    break
        found |= _NOUNS.get(word, frozenset())
    return found


def exchanged(ones: set[Noun], others: set[Noun]) -> bool:
    """Whether each text names a thing of one kind that the other lacks."""
    if not ones or not others or ones == others:
        return False
    return not {kind for kind, _ in ones - others}.isdisjoint(kind for kind, _ in others - ones)

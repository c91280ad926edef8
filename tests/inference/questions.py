"""Questions on the texts beside this file: what the answer must contain, or that there is none.

The calibration texts and questions fixed the threshold in `inference/extractive.py`; the held-out
ones were never used for it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from memory.documents import Document, read_documents

TEXTS = Path(__file__).parent / "texts"


class Exam(msgspec.Struct, frozen=True):
    """Documents and questions; an answerable one with a piece of the sentence that answers it."""

    documents: tuple[Document, ...]
    answerable: dict[str, str]
    unanswerable: tuple[str, ...]


CALIBRATION = Exam(
    documents=read_documents(TEXTS / "calibration").documents,
    answerable={
        "When was the lighthouse built?": "1871",
        "How tall is the tower?": "34 metres",
        "Who designed the lighthouse?": "Arkwright",
        "What fuel did the first lamp burn?": "whale oil",
        "When did the lighthouse get electricity?": "1956",
        "How far away can the light be seen?": "21 nautical miles",
        "Who was the last head keeper?": "Margaret Ellis",
        "Are dogs allowed in the tower?": "Dogs are not allowed",
        "How many faulty replicas can four replicas tolerate?": "With four replicas",
        "What happens if the primary is silent?": "view change",
        "What does the primary do?": "proposes their order",
        "How are messages protected against forgery?": "Ed25519",
        "How often is a checkpoint made?": "Every hundred blocks",
        "How does a replica that was away catch up?": "missing blocks",
        "How much salt do I need for the bread?": "10 grams of salt",
        "At what temperature is the bread baked?": "245 degrees",
        "Why is the crumb dense?": "not fermented long enough",
        "How do I know that the bread is done?": "hollow",
        "How long does leftover bread keep?": "four days",
        "What is the limit for hotels in capital cities?": "180 euros",
        "How much is paid per kilometre for a private car?": "0.30 euros",
        "Is alcohol reimbursed?": "never reimbursed",
        "By when do I have to hand in receipts?": "thirty days",
        "Who arranges the travel insurance?": "personnel office",
    },
    unanswerable=(
        "What is the capital of Mongolia?",
        "Who painted the Mona Lisa?",
        "How many moons does Jupiter have?",
        "What is the boiling point of nitrogen?",
        "How do I install a printer driver?",
        "Who won the football world cup in 1990?",
        "What did the lighthouse cost to build?",
        "What was the name of the lighthouse keeper's dog?",
        "How many steps does the staircase of the tower have?",
        "Which hash function links the blocks?",
        "How much electricity does a replica use?",
        "Who invented the consensus algorithm?",
        "How do I make gluten-free pizza?",
        "How many calories does a slice of bread have?",
        "Which oven brand is recommended?",
        "Can I take my spouse on a business trip?",
        "Which airline should employees fly with?",
        "How many days of holiday do employees get?",
        "What is the director's telephone number?",
        "When does the museum open on Sundays?",
    ),
)
HELD_OUT = Exam(
    documents=read_documents(TEXTS / "held_out").documents,
    answerable={
        "How many eggs does a queen lay per day?": "two thousand eggs",
        "Who decoded the waggle dance?": "Karl von Frisch",
        "What is the most dangerous parasite of bees?": "Varroa",
        "What do beekeepers use against mites?": "oxalic acid",
        "How much honey does one hive give in a year?": "twenty kilograms",
        "When is honey harvested?": "three quarters of the cells",
        "How often should I pump the tyres?": "once a week",
        "When must the chain be replaced?": "0.75 per cent",
        "How can squealing brakes be cured?": "inwards",
        "Why do disc brakes have to be bled?": "absorbs water",
        "How tight should the stem bolts be?": "five newton metres",
        "What caused the flood?": "warm rain",
        "How many people were injured?": "eleven",
        "How high was the damage?": "46 million",
        "Why could the barrier not be closed?": "panels were missing",
        "Where should a retention basin be built?": "Steinfeld",
        "When is the library closed?": "Sundays and Mondays",
        "How much does a library card cost?": "twelve euros",
        "For how long can I borrow a film?": "films for one week",
        "What is the fine for returning a book late?": "twenty cents",
        "Where is the piano?": "basement",
        "What do I pay for a lost card?": "three euros",
    },
    unanswerable=(
        "What is the speed of light?",
        "Who wrote War and Peace?",
        "How do I configure a firewall?",
        "What is the population of Brazil?",
        "Which vitamins are in spinach?",
        "When was the steam engine invented?",
        "How much does an electric bicycle cost?",
        "Which helmet should I wear?",
        "How many flowers does a bee visit per hour?",
        "What does a beekeeper earn?",
        "Who is the mayor of Oberau?",
        "How many fish died in the river?",
        "Does the library have a cafe?",
        "Who is the director of the library?",
        "Can I print documents in the library?",
    ),
)

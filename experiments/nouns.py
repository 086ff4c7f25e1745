"""The nouns of Flickr8K as classes: which words name each, and which photos show it, by what people wrote.

A photo is positive where two or more of its captions name the noun, left out where one does, else negative. NOUNS are
the most frequent concrete nouns of the training captions, synonyms merged by hand before any model was asked; those
with fewer than LEAST positives in a split are left out there, and of the others the first MOST count.
Shapes: n photos, c classes.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from vse.data.datasets import Dataset
from vse.data.vocabulary import tokenize

LEAST, MOST = 8, 60
# By training frequency; the first word is the label.
NOUNS = tuple(line.split() for line in """
dog dogs puppy puppies
man men guy guys
boy boys
woman women lady ladies
girl girls
water
child children kid kids toddler toddlers
shirt shirts
ball balls
grass lawn
snow
bike bikes bicycle bicycles bmx
field
rock rocks boulder boulders
beach
street road
jacket coat jackets coats
mountain mountains
tree trees
hat hats cap caps
camera cameras
pool
toy toys
player players
wall
soccer
hill
dress dresses
wave waves
park
building buildings
stick sticks
crowd
ocean sea
car cars
path trail
swing swings
skateboard skateboarder skateboards skateboarders
football
horse horses
sand
baby infant
boat boats canoe kayak raft
snowboard snowboarder snowboarding
bench benches
helmet helmets
surfboard surfer surfers surfboards
sidewalk
fence
woods forest
basketball
frisbee frisbees
ramp
tennis
baseball
slide
lake
bird birds
rope
flowers flower
motorcycle motorcycles motorbike dirtbike
skis skier skiers ski skiing
city
river
cliff
sunglasses
table
backpack backpacks
ice
hockey
fountain
sign
guitar guitars
playground
bridge
bed
leash
chair chairs
train
mud
trampoline
""".strip().splitlines())  # fmt: skip
# Animals, vehicles, and what is played on or with: by training frequency those that meet none before them in more than
# MEET of the rarer one's training photos, the first twelve. A photo counts where one is positive and no other is named.
MEET = 0.1
EXCLUSIVE = (
    "dog", "bike", "skateboard", "boat", "car", "swing", "football", "skis", "surfboard", "snowboard", "horse",
    "basketball",
)  # fmt: skip


def mentions(split: Dataset, nouns: Sequence[Sequence[str]] = NOUNS) -> Int[np.ndarray, "n c"]:
    """How many captions of each photo name each noun."""
    column = {word: i for i, words in enumerate(nouns) for word in words}
    counts = np.zeros((len(split.images), len(nouns)), np.int64)
    for photo, caption in zip(split.image_of_caption.tolist(), split.captions, strict=True):
        for i in {column[word] for word in tokenize(caption) if word in column}:
            counts[photo, i] += 1
    return counts


def frequent(counts: Int[np.ndarray, "n c"]) -> list[int]:
    """The columns that count: the first MOST with LEAST positives or more."""
    return [i for i in range(counts.shape[1]) if (counts[:, i] >= 2).sum() >= LEAST][:MOST]


def exclusive(
    counts: Int[np.ndarray, "n c"],
) -> tuple[list[int], Int[np.ndarray, " photos"], Int[np.ndarray, " photos"]]:
    """(columns of EXCLUSIVE, the photos that show one of them alone, which of EXCLUSIVE each shows)."""
    labels = [words[0] for words in NOUNS]
    columns = [labels.index(label) for label in EXCLUSIVE]
    part = counts[:, columns]
    photos = np.flatnonzero(((part >= 2).sum(1) == 1) & ((part >= 1).sum(1) == 1))
    return columns, photos, part[photos].argmax(1)

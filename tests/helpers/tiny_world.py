"""The words of the tiny world of conftest.py: things of one colour each."""

COLOURS = ("red", "blue", "green", "white", "black", "brown")
THINGS = ("dog", "ball", "house", "boat", "tree", "girl", "bird", "car")
FRAMES = ("a {c} {t}", "the {t} there is {c} and big", "{c} {t} on a long road")

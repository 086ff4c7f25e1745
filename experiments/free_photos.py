"""Photos that come with installed packages and may be used freely: `python -m experiments.free_photos` lists them.

scikit-image's samples (CC0 or public domain, see its data/README.txt) and matplotlib's Grace Hopper (public domain).
"""

import sys
from pathlib import Path

import matplotlib
import skimage

SAMPLES = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg")


def paths() -> list[Path]:
    """Six photos."""
    folder = Path(skimage.__file__).parent / "data"
    return [*(folder / name for name in SAMPLES), Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"]


if __name__ == "__main__":
    print("\n".join(map(str, paths())))
    sys.exit(0)

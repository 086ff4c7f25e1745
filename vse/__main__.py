"""The command line `vse`: each subcommand calls one function of the package; a user's mistake is one line."""

import sys

try:
    from collections.abc import Sequence

    from vse import __version__
    from vse.commands.ask import ask, classify, train_answers
    from vse.commands.data import data, download, features, questions, scenes, tags
    from vse.commands.fusion import train_fusion
    from vse.commands.show import arithmetic, page, pca, search
    from vse.commands.space import evaluate, hubs, train
    from vse.recipes import RECIPES
    from vse.system.command_line import run
except KeyboardInterrupt:  # the program is only starting: nobody wants to see where
    print("vse: interrupted", file=sys.stderr)
    sys.exit(130)

_OF_DATA = (data, download, scenes, features, tags, questions)
_OF_A_SPACE = (train, hubs, train_fusion, train_answers, evaluate, search, classify, ask, arithmetic, pca, page)
COMMANDS = {f.__name__.replace("_", "-"): f for f in (*_OF_DATA, *_OF_A_SPACE)}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, 1 for a user's mistake (said in one line), 130 when interrupted."""
    return run("vse", COMMANDS, sys.argv[1:] if argv is None else argv, __version__, recipes={"train": RECIPES})


if __name__ == "__main__":
    sys.exit(main())

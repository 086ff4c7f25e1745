"""The one exception for a user's mistake: the command line prints it in one line and exits with 1.

Every other exception is a bug of this project and keeps its traceback.
"""


class InputError(ValueError):
    """What the user gave cannot be used. The message has the value, what was expected and the way out."""

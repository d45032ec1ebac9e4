"""What a case gives with one library, in words that compare with those of the other."""

import warnings


def outcome(library, case):
    """The text of what `case(library)` returns, or the type of what it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return str(case(library)).replace("funtorch", "torch")
        except Exception as error:
            return type(error)

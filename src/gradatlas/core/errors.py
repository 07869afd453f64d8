"""What a user can mend."""


class InputError(ValueError):
    """Input that cannot be used: one sentence with the value, what was expected, what to do."""


def reworded(error: OSError, sentence: str) -> OSError:
    """The same kind of error, with the same ``errno``, in words of ours."""
    result = type(error)(sentence)
    result.errno = error.errno
    return result

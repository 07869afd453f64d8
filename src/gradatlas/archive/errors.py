"""What goes wrong with the content of an archive file."""

from gradatlas.errors import InputError


class ArchiveError(InputError):
    """A file that is no archive, is damaged, or does not belong; the message says what to do."""


def reworded(error: OSError, sentence: str) -> OSError:
    """The same kind of error, with the same ``errno``, in words of ours."""
    result = type(error)(sentence)
    result.errno = error.errno
    return result

"""What goes wrong with the content of an archive file."""

from gradatlas.errors import InputError


class ArchiveError(InputError):
    """A file that is no archive, is damaged, or does not belong; the message says what to do."""

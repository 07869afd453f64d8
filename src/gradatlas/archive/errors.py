"""What goes wrong with the content of an archive file."""


class ArchiveError(ValueError):
    """A file that is no archive, is damaged, or does not belong; the message says what to do."""

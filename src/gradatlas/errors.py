"""What a user can mend."""


class InputError(ValueError):
    """Input that cannot be used: one sentence with the value, what was expected, what to do."""

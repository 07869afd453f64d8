"""Settings of all tests."""

from hypothesis import settings

# The same examples in every run, so that a change is what makes a test fail. New ones are found by
# pytest --hypothesis-profile=default.
settings.register_profile("reproducible", derandomize=True)
settings.load_profile("reproducible")

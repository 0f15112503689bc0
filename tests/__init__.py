"""A package, so that tests in all folders can share `tests.standins`."""

"""What the lead of the Claude tests can do."""


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b

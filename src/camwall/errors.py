"""The errors a user can cause; each message is one line that says what was wrong and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager


class CamwallError(ValueError):
    """Input that camwall cannot use."""


class BlindnessError(CamwallError):
    """A model said to be blind to some rows of the image is not; the message names the rows."""


class DataUnavailable(CamwallError):
    """A data set is neither in the cache nor to be had from any of its sources."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Import what an extra of camwall brings; without it, say how to get it."""
    try:
        yield
    except ImportError as error:
        package = (error.name or "a package").partition(".")[0]
        raise CamwallError(
            f"this needs {package}, which is not installed: pip install 'camwall[{name}]'"
        ) from None

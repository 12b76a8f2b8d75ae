"""The errors a user can cause; each message is one line that says what was wrong and what to do."""

import warnings
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
    """Import what an extra of camwall brings.

    Raises
    ------
    CamwallError
        It is not installed.
    """
    try:
        with warnings.catch_warnings():
            # Some import tqdm.auto, which prints into every notebook that ipywidgets is missing.
            warnings.filterwarnings("ignore", message="IProgress not found")
            yield
    except ModuleNotFoundError as error:
        package = (error.name or "a package").partition(".")[0]
        raise CamwallError(
            f"this needs {package}, which is not installed: pip install 'camwall[{name}]'"
        ) from None


@contextmanager
def in_one_line(what: str, then: str) -> Iterator[None]:
    """Say of whatever goes wrong in somebody else's code what it was, why, and what to do.

    Raises
    ------
    CamwallError
        ``what`` (why): ``then``. One of ours passes as it is.
    """
    try:
        yield
    except CamwallError:
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:400].rstrip(".") or type(error).__name__
        raise CamwallError(f"{what} ({why}): {then}") from None

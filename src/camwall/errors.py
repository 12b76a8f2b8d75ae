"""The errors a user can cause; each message is one line that says what was wrong and what to do."""


class CamwallError(ValueError):
    """Input that camwall cannot use."""


class BlindnessError(CamwallError):
    """A model said to be blind to some rows of the image is not; the message names the rows."""


class DataUnavailable(CamwallError):
    """A data set is neither in the cache nor to be had from any of its sources."""

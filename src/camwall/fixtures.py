"""What pytest finds where camwall is installed: the fixture ``walled_model``."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from camwall.models import MaskedModel


@pytest.fixture
def walled_model() -> "MaskedModel":
    """A small random network that cannot see the lower part of its images: `camwall.testing`."""
    from camwall.testing import walled_model

    return walled_model()

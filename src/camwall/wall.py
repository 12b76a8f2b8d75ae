"""The wall: which rows of an image and of a map lie on each side."""

from dataclasses import dataclass
from math import sqrt

from camwall.errors import CamwallError


@dataclass(frozen=True)
class Wall:
    """A horizontal wall: everything below it is hidden from the model's head."""

    image_rows: int
    hidden_rows: int
    map_rows: int
    visible_map_rows: int

    @property
    def row(self) -> int:
        return self.image_rows - self.hidden_rows

    @property
    def flat_level(self) -> float:
        return sqrt(self.hidden_rows / self.image_rows)

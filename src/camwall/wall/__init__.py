"""Walls: which pixels are hidden, what reaches past them, and the certificate of blindness."""

from camwall.wall.certify import Certificate, certify
from camwall.wall.reach import needed_rows, tainted
from camwall.wall.shape import AnyWall, Wall

__all__ = ["AnyWall", "Certificate", "Wall", "certify", "needed_rows", "tainted"]

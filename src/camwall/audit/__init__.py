"""Implementations against each other and against the slow, exact way."""

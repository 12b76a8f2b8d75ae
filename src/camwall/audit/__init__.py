"""Implementations and closed forms against each other and against the slow, exact way."""

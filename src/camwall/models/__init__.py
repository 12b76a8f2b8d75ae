"""Networks behind a wall."""

from camwall.lazily import lazily

__getattr__, __dir__, __all__ = lazily(__name__, __file__, {})

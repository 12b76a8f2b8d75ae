"""Training masked networks: recipe, studies, the loop, checkpoints."""

from camwall.lazily import lazily

__getattr__, __dir__, __all__ = lazily(__name__, __file__, {"camwall.train.loop": "train"})

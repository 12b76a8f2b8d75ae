"""``python -m camwall``, which ``accelerate launch -m camwall`` needs."""

from camwall.cli import main

main()

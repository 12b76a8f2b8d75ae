"""``python -m camwall``, which ``accelerate launch -m camwall`` needs."""

from camwall.commands.cli import main

main()

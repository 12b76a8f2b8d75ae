"""``camwall``, and ``python -m camwall``, which ``accelerate launch -m camwall`` needs."""

import sys


def main() -> None:
    """Run a command; Ctrl-C is one line also while what it needs is imported."""
    try:
        from camwall.commands import cli

        cli.main()
    except KeyboardInterrupt:
        print("camwall: stopped before anything was begun", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()

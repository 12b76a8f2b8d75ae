"""``python -m camwall.data [NAME …]``: fetch the data sets into the cache."""

import sys

from camwall.data import fetch
from camwall.errors import CamwallError

if __name__ == "__main__":
    try:
        for name, folder in fetch(sys.argv[1:] or None).items():
            if folder is not None:
                print(f"{name}: {folder}")
    except CamwallError as error:
        sys.exit(f"camwall: {error}")

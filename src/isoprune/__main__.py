"""`python -m isoprune` is `isoprune`."""

import sys

from isoprune.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m framecap` is the `framecap` command."""

import sys

from framecap.cli import main

if __name__ == "__main__":
    sys.exit(main())

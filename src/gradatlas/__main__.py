"""The command line as ``python -m gradatlas``."""

import sys

from gradatlas.cli import main

sys.exit(main())

"""`python -m p2p` is the command `folkmoot`."""

import sys

from p2p.cli.main import main

sys.exit(main())

"""`python -m llmctld`: the hub in the foreground."""

import sys

from llmctld.app import main

sys.exit(main())

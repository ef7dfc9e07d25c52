"""`python -m console.demo`: what ./run starts."""

import sys

from console.demo.supervisor import main

sys.exit(main())

"""The checks of the container: the service's life first, then what it may do."""

import service  # noqa: F401
import hardening  # noqa: F401
from harness import main

main()

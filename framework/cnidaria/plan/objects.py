"""What plans are made of. The kinds are defined beside what makes them so, a layer below."""

from __future__ import annotations

from cnidaria.kernel.objects import *  # noqa: F403
from cnidaria.kernel.objects import __all__ as __all__  # noqa: PLC0414

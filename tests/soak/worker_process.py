"""A worker as a process. Its wall clock can be skewed, so that has to be in place before the library is imported."""

from __future__ import annotations

from tests.soak import wall_clock

if __name__ == "__main__":
    wall_clock.install()
    from tests.soak.worker import main

    main()

"""What Python runs first in every job: seeding and the boot report, then what was here before us.

Python imports `sitecustomize` by itself at start, and this folder is first on PYTHONPATH. Without
ML_EXPERIMENT_BOOT nothing happens but making way: the folder leaves `sys.path` and the next
`sitecustomize` is imported, so that what it does, and how its errors look, is as without us.

Any Python may be started in a job, so this file must be readable to all of them, old ones too.
"""

import os
import sys

_here = os.path.realpath(os.path.dirname(os.path.abspath(__file__)))

if os.environ.get("ML_EXPERIMENT_BOOT"):
    if sys.version_info >= (3, 8):
        import _ml_experiment_boot

        _ml_experiment_boot.boot(os.environ)
    else:
        sys.stderr.write(
            "ml-experiment: Python %d.%d is too old to be seeded (3.8 or later is needed), so "
            "this process is not seeded and writes no report.\n" % sys.version_info[:2]
        )

# Our folder must hide no module of the user's. Children boot from PYTHONPATH, which keeps it.
sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != _here]

# Not found is an ImportError that names `sitecustomize`, which Python's `site` passes over; any
# other error is reported by `site` in its own words. So nothing is caught here.
del sys.modules["sitecustomize"]
import sitecustomize  # noqa: E402, F401  (the next one: this one has just left sys.path)

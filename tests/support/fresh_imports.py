"""What a process has loaded once it did one thing alone, for many such things at little cost.

Temporal's SDK and the library are imported once, which takes longest. Each thing is then done in a child that is forked
from there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping

_EACH_IN_A_CHILD = """
import json, os, sys, traceback
import envelope_codec.plugin
for name, code in json.load(sys.stdin).items():
    if not os.fork():
        try:
            exec(code, {})
            print(json.dumps([name, sorted(sys.modules), ""]), flush=True)
        except BaseException:
            print(json.dumps([name, [], traceback.format_exc()]), flush=True)
        os._exit(0)
    os.wait()
"""


def loaded_by(codes: Mapping[str, str]) -> dict[str, set[str]]:
    """Run each code in a process of its own; return the names of all modules that it has then, by the code's name.

    Raises:
        AssertionError: a code raised.
    """
    done = subprocess.run(
        [sys.executable, "-c", _EACH_IN_A_CHILD], input=json.dumps(codes), capture_output=True, text=True, check=True
    )
    loaded = {}
    for line in done.stdout.splitlines():
        name, modules, trouble = json.loads(line)
        assert not trouble, f"{name}: {trouble}"
        loaded[name] = set(modules)
    assert loaded.keys() == codes.keys(), done.stderr
    return loaded

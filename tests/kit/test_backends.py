"""The kit, through both faces, on every backend that is installed or that JUHAM_TEST_BACKENDS names."""

import os

import juham_core as juham
from juham_core.testing import BackendConformance

_NAMED = os.environ.get("JUHAM_TEST_BACKENDS", "")
_NAMES = sorted(filter(None, _NAMED.split(","))) or sorted({info.name for info in juham.backends()})
# One that lives in the caller's loop and one whose reports come by threads; "tox -e asyncio" tries all.
_AWAITED = os.environ.get("JUHAM_TEST_ASYNCIO", "gmqtt,memory").split(",")

# Where in the library, and that no issue of its own is known, is told in docs/conformance.md.
_IN_PART = "awscrt sets DUP only on what it has written to the last byte, and lets nobody else set it"
_NO_DUP = "awscrt has no DUP to be set: what another process has sent goes out as new"
KNOWN = {
    "awscrt": {
        "reconnect.qos_1_cut_in_publish": _IN_PART,
        "outbox.sent_again_dup": _NO_DUP,
    }
}

for _name in _NAMES:
    for _face in ("", "asyncio") if _name in _AWAITED else ("",):
        _class = f"Test{_name.title()}{_face.title()}"
        _body = {"backend": _name, "face": _face, "known_failures": KNOWN.get(_name, {})}
        globals()[_class] = type(_class, (BackendConformance,), {**_body, "__module__": __name__})

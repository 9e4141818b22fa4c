"""Mutants that take in more than the application can take."""

from __future__ import annotations

from mutants import mutant
from toy import JToy


@mutant("hostile.window_ignored", "reads whatever comes, however many messages wait already")
class JInsatiable(JToy):
    def _set_up(self, name):
        super()._set_up(name)
        self._delivery.blocks = False

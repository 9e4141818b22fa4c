"""Mutants that believe anybody, or tell what nobody may know; see mutants.py."""

from __future__ import annotations

import logging

from mutants import mutant
from toy import JToy

from juham_core.credentials import for_attempt
from juham_core.errors import AuthError, ConnectError
from juham_core.testing.certificates import CLIENT


@mutant("security.insecure_warns", "warns of it once only")
class JWarnsOnce(JToy):
    def _attempt(self, server):
        log = logging.getLogger("juham.backend")
        log.disabled = self._statistics.connects > 0
        try:
            super()._attempt(server)
        finally:
            log.disabled = False


@mutant("security.client_certificate_missing", "shows a certificate that nobody gave it")
class JForges(JToy):
    def _open(self, options):
        super()._open(options.changed(certfile=CLIENT) if options.tls else options)


@mutant("security.next_server_verified", "verifies nobody where there are several servers")
class JTrustsMany(JToy):
    def _open(self, options):
        super()._open(options.changed(insecure=bool(self._options.servers)))


@mutant("security.credentials", "asks for its credentials once")
class JAsksOnce(JToy):
    def _attempt(self, server):
        self._options = for_attempt(self._options)
        super()._attempt(server)


@mutant("security.password_file", "reads the file once")
class JReadsOnce(JAsksOnce):
    pass


@mutant("security.password_file_missing", "goes without a password if there is none")
class JGoesWithout(JToy):
    def _attempt(self, server):
        try:
            for_attempt(self._options)
        except ConnectError:
            self._options = self._options.changed(password_file=None)
        super()._attempt(server)


@mutant("security.credentials_fail", "gives up when it gets no credentials")
class JEasilyDiscouraged(JToy):
    def _attempt(self, server):
        try:
            super()._attempt(server)
        except ConnectError as exc:
            raise AuthError(str(exc)) from exc


@mutant("security.secrets_hidden", "shows the password in its errors")
class JTellsAll(JToy):
    def _open(self, options):
        try:
            super()._open(options)
        except OSError as exc:
            raise ConnectError(f"{options.username}:{options.password}@{options.host}: {exc}") from exc

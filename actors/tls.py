"""Who may talk to whom over `wss`: both sides show a certificate and check the other's.

    listener   server.pem   signed by ca.pem, made out to the host that is dialed
    dialer     client.pem   signed by ca.pem

By the standard library's `ssl`, TLS 1.3 only: both sides are ours. `certificates.py`
makes the files.
"""

import os
import ssl
from dataclasses import dataclass
from functools import cached_property

from actors.errors import ConfigError

__all__ = ["Security"]


@dataclass(frozen=True)
class Security:
    """The certificates of one side of a `wss` connection; both sides must have some.

    Args:
        ca_file: path of the PEM certificate that must have signed the other side's.
        cert_key_file: path of the PEM file with this side's certificate and key.
        server_name: the name that the listener's certificate must carry; empty: the
            host of the url that is dialed.
    """

    ca_file: str
    cert_key_file: str
    server_name: str = ""

    @cached_property
    def listening_context(self) -> ssl.SSLContext:
        """What all listeners show and ask for; made once, as it reads files.

        Raises:
            ConfigError: a file is missing or wrong.
        """
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.num_tickets = 0  # nobody resumes a session
        return context

    @cached_property
    def dialing_context(self) -> ssl.SSLContext:
        """What all dialers show and ask for; made once, as it reads files.

        Raises:
            ConfigError: a file is missing or wrong.
        """
        # Such a context checks the listener's certificate, and its name, by itself.
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def _context(self, protocol: int) -> ssl.SSLContext:
        for path in (self.ca_file, self.cert_key_file):
            if not os.access(path, os.R_OK):
                raise ConfigError(
                    f"Certificate file {path} is missing or not readable: make it with "
                    "`actors init`, or copy it from the endpoint's host"
                )
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(self.ca_file)
            context.load_cert_chain(self.cert_key_file)
        except ssl.SSLError as error:
            raise ConfigError(
                f"{self.ca_file} or {self.cert_key_file} is not what it should be "
                f"({error}): the first is a PEM certificate, the second a PEM "
                "certificate followed by its key"
            ) from None
        return context

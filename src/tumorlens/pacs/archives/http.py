"""One HTTP session: credentials, certificates, time limits, and errors without identifiers.

Requests for a series have its UID in their address, and requests quotes addresses. What an error
says is therefore our own: the kind of question, and the status.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tumorlens.errors import ArchiveError, TumorLensError
from tumorlens.pacs.settings import PacsSettings

if TYPE_CHECKING:
    from requests import Response, Session


def open_session(settings: PacsSettings) -> Session:
    """Return a session with the archive's credentials; it follows no proxy of the environment."""
    import requests

    session = requests.Session()
    session.trust_env = False
    password, token = (each.get_secret_value() for each in (settings.password, settings.token))
    if settings.user:
        session.auth = (settings.user, password)
    elif token:
        session.headers["Authorization"] = f"Bearer {token}"
    if settings.ca_file is not None:
        session.verify = str(settings.ca_file)
    return session


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Translate whatever the libraries raise into an `ArchiveError` that says only ``what``."""
    import requests

    try:
        yield
    except TumorLensError:
        raise
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise ArchiveError(
            f"the archive answered {status} when asked to {what}{_hint(status)}"
        ) from None
    except requests.exceptions.SSLError:
        raise ArchiveError(
            f"the archive's certificate is not trusted ({what}); set ca_file"
        ) from None
    except requests.Timeout:
        raise ArchiveError(f"the archive did not answer in time ({what})") from None
    except requests.RequestException:
        raise ArchiveError(f"the archive cannot be reached ({what})") from None
    # What an archive answers may be anything, and what a reader of it raises may quote it.
    except Exception as error:  # noqa: BLE001
        kind = type(error).__name__
        raise ArchiveError(f"the archive's answer cannot be understood ({what}: {kind})") from None


def _hint(status: int) -> str:
    if status in (401, 403):
        return "; check user, password or token"
    return "; check the address" if status == 404 else ""


class HttpClient:
    """Requests below one address; a session a thread, since sessions are not thread-safe."""

    def __init__(self, url: str, settings: PacsSettings) -> None:
        self.url = url
        self._settings = settings
        self._local = threading.local()

    @property
    def session(self) -> Session:
        """The session of this thread."""
        if not hasattr(self._local, "session"):
            self._local.session = open_session(self._settings)
        session: Session = self._local.session
        return session

    def get(self, path: str, **options: Any) -> Response:
        """Return the answer to GET; raises requests' errors, also by status."""
        return self._request("GET", path, **options)

    def post(self, path: str, **options: Any) -> Response:
        """Return the answer to POST; raises requests' errors, also by status."""
        return self._request("POST", path, **options)

    def _request(self, method: str, path: str, **options: Any) -> Response:
        response = self.session.request(
            method, self.url + path, timeout=self._settings.archive_timeout,
            allow_redirects=False, **options,
        )  # fmt: skip
        response.raise_for_status()
        return response

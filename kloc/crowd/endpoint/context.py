"""What the three apps share: settings, database, clock, links, log; and the small rules of answering."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import urlsplit

from sqlalchemy import select, update
from starlette.requests import Request

from kloc.crowd.endpoint.database import Database
from kloc.crowd.endpoint.faults import Refusal
from kloc.crowd.endpoint.limits import RateLimiter
from kloc.crowd.endpoint.links import LinkSigner
from kloc.crowd.endpoint.log import Log
from kloc.crowd.endpoint.questions import Question, parse
from kloc.crowd.endpoint.settings import EndpointSettings
from kloc.crowd.endpoint.tables import APPROVED, SUBMITTED, Assignment, Hit

#: A host as it may stand in a header of ours and in a page; anything else is an attack.
_HOST = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(:[0-9]{1,5})?", re.ASCII)
#: What was settled so recently, seconds, need not be looked at again.
_SETTLED_FOR = 0.2


class Context:
    """One running endpoint."""

    BAD_HOST = "The Host header is not a host name."
    FOREIGN = "This was sent by another site's page: open your own page and try again."

    def __init__(self, settings: EndpointSettings, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.clock = clock
        self.log = Log(settings.log_file)
        self.database = Database(settings.database_url)
        self._settled = float("-inf")
        self.links = LinkSigner(self.database.value("url_key"))
        #: A HIT's question, read once: it never changes, and it is up to 64 KiB of XML.
        self.question = lru_cache(maxsize=256)(self._question)
        rate = settings.requests_per_second
        self.worker_limit = RateLimiter(rate, 10 * rate)
        #: For those whose link is not valid: guessing tokens is hopeless, and should be quiet as well.
        self.stranger_limit = RateLimiter(1.0, 60.0)
        #: For one name's password from one address: two tries a minute in the long run. From everywhere together more
        #: are let through, or a stranger's guesses would lock the owner out.
        self.guess_limit, self.name_limit = RateLimiter(1 / 30, 10.0), RateLimiter(1 / 3, 100.0)

    def now(self) -> float:
        return self.clock()

    def base(self, request: Request) -> str:
        """The address under which the other side knows us, without a slash at the end."""
        if self.settings.public_url is not None:
            return self.settings.public_url
        host = request.headers.get("host", "")
        if not _HOST.fullmatch(host):
            raise Refusal(HTTPStatus.BAD_REQUEST, self.BAD_HOST)
        return f"{request.url.scheme}://{host}"

    def _question(self, hit_id: str) -> Question:
        with self.database.read() as session:
            return parse(session.scalars(select(Hit.question).where(Hit.id == hit_id)).one())

    def caller(self, request: Request) -> str:
        """The address that asks. What a proxy says about it counts only where the settings say that there is one."""
        if self.settings.behind_proxy:
            # The last entry is the proxy's own word; those before it are the client's, and may be anything.
            return request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        return request.client.host if request.client else ""

    def require_assignment(self, request: Request, assignment_id: str) -> None:
        """Raise :class:`Refusal` (404) for an id that nobody was given; whoever makes up many is a stranger (429)."""
        with self.database.read() as session:
            known = session.scalar(select(Assignment.id).where(Assignment.id == assignment_id))
        if known is None:
            self.stranger_limit.take(self.caller(request))
            raise Refusal(HTTPStatus.NOT_FOUND, "There is no such assignment.")

    def require_own_page(self, request: Request) -> None:
        """Refuse what another site's page sends. Nothing here rides on cookies; this wall stands all the same.

        Browsers on plain HTTP name no Sec-Fetch-Site, and a page without referrers has the Origin ``null`` there.
        """
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        own = origin in (None, "null", origin_of(self.base(request)))
        if site not in ("same-origin", "none") if site is not None else not own:
            raise Refusal(HTTPStatus.FORBIDDEN, self.FOREIGN)

    def settle(self) -> None:
        """Approve what nobody has judged in time. Cheap when there is nothing to do, as nearly always."""
        now = self.now()
        if 0 <= now - self._settled < _SETTLED_FOR:
            return
        self._settled = now
        due = (Assignment.status == SUBMITTED, Assignment.auto_approval_time <= now)
        with self.database.read() as session:
            if session.scalar(select(Assignment.id).where(*due).limit(1)) is None:
                return
        with self.database.write() as session:
            session.execute(
                update(Assignment).where(*due).values(status=APPROVED, approval_time=Assignment.auto_approval_time)
            )

    def close(self) -> None:
        self.database.close()
        self.log.close()


def wants_json(request: Request) -> bool:
    """A browser asks for text/html first; programs ask for application/json."""
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/html" not in accept


def origin_of(url: str) -> str:
    """``https://lab.example/kloc?x`` -> ``https://lab.example``."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"

"""The media app: videos by signed links that live as long as the lease, with HTTP Range for seeking."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from kloc.crowd.endpoint.context import Context
from kloc.crowd.endpoint.ids import MEDIA_KEY
from kloc.crowd.endpoint.pages import Fault
from kloc.crowd.endpoint.tables import ACCEPTED, Assignment, QualificationRequest

#: Stands for the assignment where a HIT is only looked at.
PREVIEW = "PREVIEW"


def app(context: Context) -> Starlette:
    """The app to mount at ``/media``."""
    folder = Path(context.settings.media_folder)

    def media(request: Request) -> Response:
        key = request.path_params["key"]
        given, now = dict(request.query_params), context.now()
        if not MEDIA_KEY.fullmatch(key):
            return _refused(HTTPStatus.NOT_FOUND, "no such video")
        if not context.links.holds(f"/media/{key}", given, now):
            return _refused(HTTPStatus.FORBIDDEN, "this link is not valid, or its time is over: open the task again")
        if given["a"] != PREVIEW:
            with context.database.read() as session:
                assignment = session.get(Assignment, given["a"])
                # A test's video stays for its feedback, until the link ends.
                open_still = assignment.status == ACCEPTED if assignment else _is_attempt(session, given["a"])
            if not open_still:
                return _refused(HTTPStatus.FORBIDDEN, "this task was returned or handed in: its video link has ended")
        path = folder / f"{key}.mp4"
        if not path.is_file():
            context.log.fault("media missing", key=key)
            return _refused(HTTPStatus.NOT_FOUND, "the video of this task is missing; please tell its requester")
        headers = {
            "Cache-Control": "private, max-age=3600",
            "Cross-Origin-Resource-Policy": "cross-origin",
            "X-Content-Type-Options": "nosniff",
        }
        return FileResponse(path, headers=headers, media_type="video/mp4")

    # A sandboxed frame has an opaque origin, and the link itself is the permission: any origin may read.
    cors = Middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "HEAD"],
        allow_headers=["Range", "If-Range"],
        expose_headers=["Accept-Ranges", "Content-Length", "Content-Range", "ETag"],
    )
    return Starlette(
        routes=[Route("/{key}", media, methods=["GET", "HEAD"])],
        middleware=[cors],
        exception_handlers={Exception: Fault(context)},
    )


def media_link(context: Context, key: str, assignment_id: str, until: float) -> str:
    """The path and query of a video, good until the epoch second ``until``."""
    return context.links.sign(f"/media/{key}", {"a": assignment_id}, until)


def _is_attempt(session: Session, attempt_id: str) -> bool:
    return session.get(QualificationRequest, attempt_id) is not None


def _refused(status: HTTPStatus, message: str) -> Response:
    return PlainTextResponse(message + "\n", status)

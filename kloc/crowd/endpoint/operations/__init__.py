"""The operations of the Requester API (2017-01-17)."""

from kloc.crowd.endpoint.operations import (
    assignments,
    hit_types,
    hits,
    payments,
    qualification_types,
    qualifications,
    reviews,
    workers,
)
from kloc.crowd.endpoint.operations.registry import OPERATIONS, Call, Parameters

_NO_NOTIFICATIONS = "this endpoint sends no notifications; ask for what is new instead, as `kloc ingest --watch` does"
#: What the API has and this endpoint does not: the operation -> why, and what to do instead.
UNSUPPORTED = {
    "GetFileUploadURL": "this endpoint takes no file uploads; have the page send what it needs as form fields",
    "SendTestEventNotification": _NO_NOTIFICATIONS,
    "UpdateNotificationSettings": _NO_NOTIFICATIONS,
}

__all__ = [
    "OPERATIONS",
    "UNSUPPORTED",
    "Call",
    "Parameters",
    "assignments",
    "hit_types",
    "hits",
    "payments",
    "qualification_types",
    "qualifications",
    "reviews",
    "workers",
]

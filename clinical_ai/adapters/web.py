"""What the platform's own processes serve: health checks, and pages for a browser."""

import http.client
import re
from typing import Final
from urllib.parse import urlsplit

_MOST_HOPS: Final = 5


def answers(url: str) -> bool:
    """Whether there is an answer below 400."""
    status, _ = _fetch(url)
    return status < 400


def find_title(url: str) -> str | None:
    """The title of the page at `url`, or None when no page is served there."""
    status, page = _fetch(url)
    title = re.search(r"<title>([^<]*)</title>", page)
    return title.group(1).strip() if status == 200 and title else None


def _fetch(url: str, hops: int = _MOST_HOPS) -> tuple[int, str]:
    """Status and text at `url`, redirects followed; 599 when nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=10)
    try:
        connection.request("GET", parts.path or "/")
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 599, ""
    finally:
        connection.close()
    place = answer.getheader("Location")
    if place and hops and 300 <= answer.status < 400:
        return _fetch(f"{parts.scheme}://{parts.netloc}{urlsplit(place).path}", hops - 1)
    return answer.status, text

"""The page that Prefect's server serves to browsers."""

import http.client
import re
from urllib.parse import urlsplit


def find_title(url: str) -> str | None:
    """The title of the page at `url`, or None when no page is served there."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=10)
    try:
        connection.request("GET", f"{parts.path}/")
        answer = connection.getresponse()
        while answer.status in {301, 302, 307, 308}:
            place = answer.getheader("Location") or "/"
            answer.read()
            connection.request("GET", urlsplit(place).path)
            answer = connection.getresponse()
        page = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    title = re.search(r"<title>([^<]*)</title>", page)
    return title.group(1).strip() if answer.status == 200 and title else None

"""Masking zones: polygons and an image in, the image with everything inside the polygons black out.

A polygon's points are parts of the image's width and height, as it is seen: (0, 0) is the top left, (1, 1) the bottom
right. So they hold for every resolution. Edges are drawn a little too wide, never too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from framecap.errors import ConfigError

Point = tuple[float, float]
Zone = tuple[Point, ...]

_EDGE_PIXELS = 3  # width of the line around a zone: a pixel that the edge only touches shows something, too


def check_zones(zones: Sequence[Zone], camera: str) -> None:
    """Raises ConfigError for a polygon that would not mask what its points seem to enclose."""
    for number, zone in enumerate(zones):
        problem = _problem(zone)
        if problem:
            raise ConfigError(f"capture.cameras: camera {camera!r}: zones.{number}: {problem}")


def _problem(zone: Zone) -> str | None:
    corners = [point for point, before in zip(zone, zone[-1:] + zone[:-1], strict=True) if point != before]
    if all(_turn(zone[0], *pair) == 0 for pair in combinations(zone[1:], 2)):
        return "its points lie on one line, so it masks nothing: give the corners of an area"
    edges = list(zip(corners, corners[1:] + corners[:1], strict=True))
    for number, other in combinations(range(len(edges)), 2):
        neighbours = other - number in (1, len(edges) - 1)
        if not neighbours and _meet(*edges[number], *edges[other]):
            return (
                f"the edges that begin at {list(corners[number])} and {list(corners[other])} meet, and part of it could "
                "stay visible: list the corners in the order in which one walks around it, or give several polygons"
            )
    return None


def _turn(a: Point, b: Point, c: Point) -> int:
    """On which side of the line from a to b the point c lies: -1, 0 (on it) or 1."""
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return 0 if abs(area) < 1e-12 else 1 if area > 0 else -1


def _meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the edges from a to b and from c to d cross or touch."""
    if _turn(a, b, c) == _turn(a, b, d) == 0:  # on one line: whether they overlap
        return max(min(a, b), min(c, d)) <= min(max(a, b), max(c, d))
    return _turn(a, b, c) != _turn(a, b, d) and _turn(c, d, a) != _turn(c, d, b)


def blacken(image: Any, zones: Sequence[Zone]) -> Any:
    """An image, array of shape (height, width, 3), with the zones black: a copy, where there are zones."""
    import cv2
    import numpy as np

    if not zones:
        return image
    height, width = image.shape[:2]
    masked = image.copy()
    for zone in zones:
        corners = np.floor(np.asarray(zone) * (width, height)).astype(np.int32)
        cv2.fillPoly(masked, [corners], (0, 0, 0))
        cv2.polylines(masked, [corners], isClosed=True, color=(0, 0, 0), thickness=_EDGE_PIXELS)
    return masked

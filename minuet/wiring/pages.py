"""The demo page and the SDK, as files of the package: an allow-list of paths made at start, nothing else."""

from importlib.resources import files
from pathlib import Path
from typing import Final

from aiohttp import web

from rest.policies import Policy, declare_resource

_TYPES: Final = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_NOT_SERVED: Final = frozenset(("test", "node_modules", "types"))


def add_pages(app: web.Application) -> None:
    """Serves every page file of `minuet/web` under its own path, and `index.html` at `/`."""
    root = Path(str(files("minuet").joinpath("web")))
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.suffix in _TYPES and path.is_file() and not _NOT_SERVED.intersection(parts):
            _add(app, "/" + "/".join(parts), path)
    _add(app, "/", root / "index.html")


def _add(app: web.Application, url: str, path: Path) -> None:
    headers = {"Content-Type": f"{_TYPES[path.suffix]}; charset=utf-8", "Cache-Control": "no-cache"}

    async def page(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(path, headers=headers)

    resource = app.router.add_resource(url)
    resource.add_route("GET", page)
    resource.add_route("HEAD", page)
    declare_resource(app, resource, Policy.PUBLIC)

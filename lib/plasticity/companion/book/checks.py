"""Checks of the rendered book: nothing from outside, a text for every picture, no dead link."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}
LINK_KINDS = {"stylesheet", "preload", "modulepreload", "icon", "preconnect", "dns-prefetch"}


class _Page(HTMLParser):
    """Collects what a page loads, links to, and shows without a text."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.bare: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record one element."""
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.ids.add(values["id"])
        if values.get(LOADS.get(tag, "")):
            self.loads.append(values[LOADS[tag]])
        if tag == "link" and LINK_KINDS & set(values.get("rel", "").split()):
            self.loads.append(values.get("href", ""))
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "img":
            alt = values.get("alt", "").strip()
            if not alt or alt == values.get("src"):
                self.bare.append(values.get("src", "")[:60])


def problems(folder: Path) -> list[str]:
    """Return what is wrong with the pages of a rendered book, one line each.

    Parameters
    ----------
    folder : Path
        Folder with the HTML pages.

    Returns
    -------
    list of str
        Resources loaded from another host, pictures without alternative text, and links to pages
        or anchors that do not exist; empty if all is well.
    """
    pages = {}
    for file in sorted(folder.rglob("*.html")):
        if "_static" not in file.relative_to(folder).parts:
            pages[file] = _Page()
            pages[file].feed(file.read_text(encoding="utf-8"))
    found = []
    for file, seen in pages.items():
        name = file.relative_to(folder)
        found += [f"{name}: loads {url} from another host" for url in seen.loads if _remote(url)]
        found += [f"{name}: picture without alternative text: {src}" for src in seen.bare]
        found += [f"{name}: dead link {url}" for url in seen.links if _dead(url, file, pages)]
    return found


def _remote(url: str) -> bool:
    return urlsplit(url).scheme not in ("", "data") or url.startswith("//")


def _dead(url: str, file: Path, pages: dict[Path, _Page]) -> bool:
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return False
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file.resolve()
    if not target.exists():
        return True
    page = pages.get(target)
    return bool(page and parts.fragment and unquote(parts.fragment) not in page.ids)

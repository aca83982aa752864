"""What mkdocs does to the pages of docs/ (a hook of mkdocs.yml).

Law: a page is changed only where plain Markdown on a code host and mkdocs differ: links that leave docs/, and lists
that follow a paragraph. The pure part, `prepared`, imports no mkdocs and is tested without it.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = {"ARCHITECTURE.md": "ARCHITECTURE.md", "CHANGELOG.md": "CHANGELOG.md"}  # of the root, shown as pages
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^()\s]+)\)")
FENCE = re.compile(r"^(```.*?^```)", re.M | re.S)
ITEM = re.compile(r"^( *)(?:[-*]|\d+\.) ")


def prepared(text, page):
    """`text` of the page at path `page`, as mkdocs wants it."""
    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else _lists(_links(part, page)) for part in parts)


def _links(text, page):
    def one(found):
        image, words, target = found.groups()
        if image or re.match(r"[a-z]+:", target) or target.startswith("#"):
            return found[0]
        path, mark, anchor = target.partition("#")
        there = (page.parent / path).resolve()
        inside = page.is_relative_to(DOCS)
        if there.is_relative_to(DOCS) and there.suffix == ".md":
            return found[0] if inside else f"[{words}]({there.relative_to(DOCS)}{mark}{anchor})"
        name = str(there.relative_to(ROOT)) if there.is_relative_to(ROOT) else ""
        if name in PAGES:
            up = "../" * len(page.parent.relative_to(DOCS).parts) if inside else ""
            return f"[{words}]({up}{PAGES[name]}{mark}{anchor})"
        if there.is_relative_to(DOCS) and there.is_file():
            return f"{words} (`{name}`)" if there.suffix in (".py", ".ts", ".json") else found[0]
        return f"{words} (`{name}` in the sources)" if name and name not in words else words

    return LINK.sub(one, text)


def _lists(text):
    """Put an empty line before a list that follows a paragraph: Python-Markdown sees no list otherwise."""
    out, before = [], ""
    for row in text.split("\n"):
        item = ITEM.match(row)
        if item and before.strip() and not ITEM.match(before) and not before.startswith((" ", "|", "#")):
            out.append("")
        out.append(row)
        before = row
    return "\n".join(out)


# -- hooks


def on_files(files, config):
    """Show the pages of the root too."""
    from mkdocs.structure.files import File

    for name, shown in PAGES.items():
        files.append(File.generated(config, shown, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown, page, config, files):
    """As `prepared`."""
    name = page.file.src_uri
    return prepared(markdown, ROOT / name if name in PAGES else DOCS / name)

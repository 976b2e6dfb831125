"""Puts the metrics pages of several processes together into one, in the Prometheus text format.

Decides that every sample gets a label that names its process, and that a family stands in one place with its help and
type once, as the format wants it. Knows of the format only what is needed for that.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_LABEL: Final = "worker"
_SAMPLE: Final = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?P<labels>\{)?")
_COMMENT: Final = re.compile(r"# (?P<kind>HELP|TYPE) (?P<family>\S+)")


@dataclass(slots=True)
class _Family:
    comments: dict[str, str] = field(default_factory=dict)
    samples: list[str] = field(default_factory=list)


def merge_pages(pages: Mapping[str, str]) -> str:
    """One page of all samples of `pages`, each with the label `worker` set to the page's key.

    A sample belongs to the family whose comments came last before it, which is where the format has it.
    """
    families: dict[str, _Family] = {}
    for worker, page in pages.items():
        label = f'{_LABEL}="{worker}"'
        family: _Family | None = None
        for line in page.splitlines():
            if comment := _COMMENT.match(line):
                family = families.setdefault(comment["family"], _Family())
                family.comments.setdefault(comment["kind"], line)
            elif sample := _SAMPLE.match(line):
                if family is None:
                    family = families.setdefault(sample["name"], _Family())
                rest = line[sample.end() :]
                if sample["labels"]:
                    separator = "" if rest.startswith("}") else ","
                    family.samples.append(f"{sample['name']}{{{label}{separator}{rest}")
                else:
                    family.samples.append(f"{sample['name']}{{{label}}}{rest}")
    lines = [line for family in families.values() for line in (*family.comments.values(), *family.samples)]
    return "\n".join(lines) + "\n" if lines else ""

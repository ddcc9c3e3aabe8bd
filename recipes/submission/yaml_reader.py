"""Reads the YAML of a meta file, which is plain: mappings, lists, texts and decimal numbers.

YAML 1.1, which PyYAML reads, has more than a form needs. Aliases let a few lines stand for
gigabytes, and `1:30` is the number 90 and `010` the number 8. Here aliases, anchors and tags are
refused, and what is no plain decimal number is a text, of which the check says that it should be a
number.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import yaml
from yaml.composer import ComposerError
from yaml.events import AliasEvent
from yaml.nodes import Node

LONGEST = 300
"""Characters of an error that are shown."""


class UnreadableError(ValueError):
    """The file is no YAML that a form can be made of."""


class PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader, without what a form does not need."""

    def compose_node(self, parent: Node | None, index: object) -> Node | None:
        """Refuse what is not written out where it stands."""
        event = self.peek_event()
        named = isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None
        if named or getattr(event, "tag", None) is not None:
            what = "an alias or anchor (&, *)" if named else "a tag (!)"
            raise ComposerError(None, None, f"found {what}; write the value out", event.start_mark)
        return super().compose_node(parent, index)


NUMBERS = {
    "tag:yaml.org,2002:int": r"[-+]?(0|[1-9][0-9]*)\Z",
    "tag:yaml.org,2002:float": r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?\Z"
    r"|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z",
}
PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag not in NUMBERS]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for number, pattern in NUMBERS.items():
    PlainLoader.add_implicit_resolver(number, re.compile(pattern), list("-+.0123456789"))


def read_plain(path: Path) -> object:
    """Content of a YAML file; UnreadableError if it is none, or has aliases, anchors or tags."""
    try:
        return PlainLoader(path.read_text(encoding="utf-8")).get_single_data()
    # ValueError: no UTF-8, a date that is none, or an integer of thousands of digits.
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = "lists or mappings too deep" if isinstance(error, RecursionError) else str(error)
        raise UnreadableError(textwrap.shorten(reason, LONGEST)) from error

"""Lua scripts touch what they are told of in KEYS and nothing else: a cluster checks the slots of KEYS only."""

import re
from pathlib import Path

import pytest

SCRIPTS = sorted(Path("storage/redis/scripts").glob("*.lua"))
# Commands that concern no key, and those whose key comes after a subcommand.
KEYLESS = {"'TIME'", "'INFO'"}
SUBCOMMANDS = {"'XINFO'", "'XGROUP'"}
# The inbox of a node is a channel: its command and its name are given, and both are of the lease's slot.
CHANNELS = {"ARGV[5]"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_touches_only_keys_it_was_given(path: Path) -> None:
    """Each command's key is one of KEYS, or a local that stands for one."""
    source = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
    given = {
        name.strip()
        for names, values in re.findall(r"local ([\w, ]+) = (.+)", source)
        for name, value in zip(names.split(","), values.split(","), strict=False)
        if value.strip().startswith("KEYS[")
    }
    calls = re.findall(r"redis\.p?call\(\s*([^,)]+)(?:,\s*([^,)]+))?(?:,\s*([^,)]+))?", source)
    touched = {
        third if command in SUBCOMMANDS else second
        for command, second, third in calls
        if command not in KEYLESS | CHANNELS
    }

    assert calls
    assert {key for key in touched if key not in given and not key.startswith("KEYS[")} == set()

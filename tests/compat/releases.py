"""Processes and clients of two releases, on one Redis and one database."""

import asyncio
import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from tests.fixtures.deployment import PATIENT, Deployment, Process
from tests.fixtures.patience import SETTLED_S

ROOT: Final = Path(__file__).parents[2]
FIRST_LANDING: Final = "3c994c34f3fca41036268d39f14651ec67a6dc23"


@dataclass(frozen=True)
class FirstLanding:
    """The source tree of the first landing."""

    folder: Path

    def client_class(self) -> Any:
        """Its client, on its own idea of frames."""
        swarm = self.folder / "loadtests" / "swarm"
        name = "loadtests.swarm.wire"
        # Its client imports its wire by the name that ours has.
        ours = sys.modules.get(name)
        sys.modules[name] = _load("first_landing_wire", swarm / "wire.py")
        try:
            module = _load("first_landing_client", swarm / "client.py")
        finally:
            if ours is None:
                del sys.modules[name]
            else:
                sys.modules[name] = ours
        # Ten seconds were its patience, which is too little beside other tests.
        module.TIMEOUT_S = SETTLED_S  # type: ignore[attr-defined]  # known when it runs
        for waits in (module.Client.wait_for, module.Client.wait_until, module.Client.wait_closed):
            waits.__defaults__ = (SETTLED_S,)
        return module.Client


@dataclass
class Beside:
    """A deployment of today's release, and processes of the first landing beside it."""

    today: Deployment
    landing: FirstLanding
    folder: Path
    old_processes: list[Process] = field(default_factory=list)

    @property
    def new_hub(self) -> Process:
        return self.today.of("serve")

    @property
    def old_hub(self) -> Process:
        return next(process for process in self.old_processes if process.role == "serve")

    async def start_old(self, role: str) -> Process:
        """One more process of the first landing, in today's environment and with today's libraries."""
        log = self.folder / f"{role}-{len(self.old_processes)}.log"
        with log.open("wb") as sink:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "minuet",
                role,
                cwd=self.landing.folder,
                env=self._old_environment(),
                stdout=asyncio.subprocess.PIPE,
                stderr=sink,
            )
        process = Process(role, child, log)
        self.old_processes.append(process)
        await process.started()
        return process

    def _old_environment(self) -> dict[str, str]:
        """Today's, without what the first landing would refuse as a mistake in writing."""
        known = {name: value for name, value in self.today.environment.items() if name not in PATIENT}
        # An installed package or a path of today's must not shine through.
        return {**known, "PYTHONPATH": str(self.landing.folder)}

    def complaints(self) -> list[str]:
        """What the old processes logged as errors: things of today's that they stumbled over."""
        return [
            line
            for process in self.old_processes
            for line in process.log.read_text(errors="replace").splitlines()
            if '"level": "error"' in line or line.startswith("Traceback")
        ]


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

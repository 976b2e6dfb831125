"""A read replica that is one: a copy of a test's own PostgreSQL, streaming from it."""

import os
from urllib.parse import urlsplit

import asyncpg

from minuet.embedded import EmbeddedPostgres
from minuet.embedded.postgres import HERE, _folder_argument, clear_ghost, find_postgres
from minuet.embedded.runner import Child, Command

COPY_TIMEOUT_S = 60.0


class Standby(EmbeddedPostgres):
    """Beside its primary, in another folder; its password is the primary's."""

    def __init__(self, folder: "os.PathLike[str]", primary: EmbeddedPostgres) -> None:
        super().__init__(folder, durable=False)  # type: ignore[arg-type]  # any path will do
        self._primary = primary

    async def _prepare(self) -> None:
        run_as = self._state.run_as()
        self._binary = find_postgres(run_as, None)
        self._password = str(urlsplit(self._primary.url).password)
        if self._state.data.exists():
            await clear_ghost(self._state.data)
            return
        self._state.make_folder("postgres", run_as)
        argv = (
            os.fspath(self._binary.path.with_name("pg_basebackup")),
            f"--dbname={self._primary.url}",
            f"--pgdata={_folder_argument(self._state.data, run_as)}",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--write-recovery-conf",
            "--no-sync",
        )
        child = Child("pg_basebackup", self._state.log, run_as)
        try:
            child.launch(Command(argv, HERE, self._state.data))
            if not await child.until_ended(COPY_TIMEOUT_S) or child.exit_code != 0:
                raise child.failed(f"ended with code {child.exit_code}")
        finally:
            await child.kill()

    async def _ready(self, child: Child, port: int) -> bool:
        try:
            connection = await asyncpg.connect(self._url(port), timeout=10)
        except (asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
            return False
        try:
            return bool(await connection.fetchval("SELECT pg_is_in_recovery()"))
        finally:
            await connection.close(timeout=5)

"""Keeps N workers on one port: starts them, restarts what dies, replaces all of them one by one on SIGHUP.

A worker is a slot's, and so is a listening socket. The next worker of a slot begins to accept on the same socket while the
one before still does, so there is no moment without somebody at the door. Where a worker died, another one minds its door
until the next stands there. What is to be done about a death is `policy.py`'s to decide.
"""

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog

from base.clock import Clock
from minuet.supervisor.metrics import SupervisorMetrics
from minuet.supervisor.policy import PAUSES_MS, Deaths, GiveUp, Silence, door_minders
from minuet.supervisor.worker import Recipe, Worker

logger = structlog.get_logger(__name__)

READY_WITHIN_S: Final = 60.0
"""So long may a worker take from its start until it serves."""

ASK_EVERY_S: Final = 1.0

Ask = Callable[[Worker], Awaitable[bool]]


class Slot:
    """A worker's place: its number, its listening socket, who serves it and who is to."""

    def __init__(self, number: int, door: socket.socket) -> None:
        self.number = number
        self.door = door
        self.worker: Worker | None = None
        """Who serves here, or is starting; None between a death and the next start."""
        self.successor: Worker | None = None
        """Who is to take the worker's place."""
        self.deaths = Deaths()
        self.was_served = False
        self.starts = 0

    @property
    def is_serving(self) -> bool:
        return self.worker is not None and self.worker.is_serving

    @property
    def opens(self) -> bool:
        """Whether its worker can be relied on to open the door."""
        return self.worker is not None and self.worker.opens


class Supervisor:
    """Runs until it is told to stop, or gives up."""

    def __init__(
        self,
        arguments: Sequence[str],
        doors: list[socket.socket],
        clock: Clock,
        metrics: SupervisorMetrics,
        *,
        ask: Ask,
        notice_s: float = 0.0,
    ) -> None:
        """`ask` says whether a worker answers, in bounded time.

        `notice_s` is for how long it says that it is not ready before its workers send their people elsewhere.
        """
        self.slots = [Slot(number, door) for number, door in enumerate(doors)]
        self.is_stopping = False
        self._recipe = Recipe(arguments, doors)
        self._clock = clock
        self._metrics = metrics
        self._ask = ask
        self._notice_s = notice_s
        self._minders: dict[int, int] = {}
        """Which process (by its id) minds the door of a slot whose worker is away."""
        self._leaving: set[Worker] = set()
        self._stop = asyncio.Event()
        self._roll = asyncio.Event()
        self._status = 0
        self._started: Callable[[], None] | None = None
        self._tasks: asyncio.TaskGroup | None = None
        metrics.wanted.set(len(doors))
        metrics.serving.set_function(lambda: sum(slot.is_serving for slot in self.slots))

    async def run(self, started: Callable[[], None]) -> int:
        """Serves until SIGINT or SIGTERM; `started` is called once every worker serves. The exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._roll.set)
        self._started = started
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for slot in self.slots:
                slot.worker = await self._launch(slot)
            lasting = [tasks.create_task(self._roll_when_asked()), tasks.create_task(self._keep_asking())]
            await self._stop.wait()
            self.is_stopping = True
            for task in lasting:
                task.cancel()
            if any(slot.is_serving for slot in self.slots):
                await asyncio.sleep(self._notice_s)
            await self._dismiss_all()
        return self._status

    # One worker.

    async def _launch(self, slot: Slot) -> Worker:
        worker = await Worker.start(slot.number, self._recipe, self._clock.monotonic_ms())
        slot.starts += 1
        logger.info("worker starting", worker=slot.number, pid=worker.pid)
        self._spawn(self._watch(slot, worker))
        return worker

    async def _watch(self, slot: Slot, worker: Worker) -> None:
        reading = self._spawn(worker.listen(self._arrange_doors))
        if await worker.serves(READY_WITHIN_S):
            worker.served_at = self._clock.monotonic_ms()
            worker.silence = Silence(worker.served_at)
            slot.was_served = True
            logger.info("worker serving", worker=slot.number, pid=worker.pid, admin=worker.admin)
            self._arrange_doors()
            self._tell_when_all_serve()
        elif not worker.is_leaving and worker is not slot.successor:
            logger.error("worker does not come to serve", worker=slot.number, pid=worker.pid)
            worker.put_down()
        status = await worker.ended()
        await reading
        self._leaving.discard(worker)
        if worker is slot.worker and not worker.is_leaving:
            await self._mourn(slot, worker, status)
        elif not worker.is_leaving:
            logger.error("new worker ended", worker=slot.number, pid=worker.pid, status=status)
        else:
            logger.info("worker ended", worker=slot.number, pid=worker.pid, status=status)

    async def _mourn(self, slot: Slot, worker: Worker, status: int) -> None:
        slot.worker = None
        self._metrics.deaths.inc()
        if self.is_stopping:
            return
        served_ms = None if worker.served_at is None else self._clock.monotonic_ms() - worker.served_at
        # Before anything else: somebody may be knocking.
        self._arrange_doors()
        verdict = slot.deaths.died(
            served_ms=served_ms, status=status, others_serve=any(other.is_serving for other in self.slots)
        )
        if isinstance(verdict, GiveUp):
            logger.error("gave up", worker=slot.number, why=verdict.why, status=status)
            self._status = verdict.status
            self._stop.set()
            return
        logger.error(
            "worker died", worker=slot.number, pid=worker.pid, status=status, again_in_ms=verdict.after_ms
        )
        await self._start_again(slot, verdict.after_ms)

    async def _start_again(self, slot: Slot, after_ms: int) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(after_ms / 1000):
                    await self._stop.wait()
            # While we waited a successor may have been put here.
            if self._stop.is_set() or slot.worker is not None:
                return
            try:
                worker = await self._launch(slot)
            except OSError as error:
                # No memory, or too many processes: no reason to end the others.
                after_ms = PAUSES_MS[-1]
                logger.error("worker could not be started", worker=slot.number, error=str(error))
                continue
            if self._stop.is_set() or slot.worker is not None:
                worker.kill()
            else:
                slot.worker = worker
            return

    async def _dismiss(self, worker: Worker) -> None:
        self._leaving.add(worker)
        worker.is_leaving = True
        self._arrange_doors()
        await worker.dismiss()

    # All of them.

    def _tell_when_all_serve(self) -> None:
        if self._started is not None and all(slot.is_serving for slot in self.slots):
            started, self._started = self._started, None
            started()

    def _arrange_doors(self) -> None:
        """Has others accept for the slots whose worker is away, and leave the doors of those that are back."""
        serving = {slot.worker.pid: slot.worker for slot in self.slots if slot.worker and slot.opens}
        orphaned = [slot.number for slot in self.slots if slot.was_served and not slot.opens]
        before, self._minders = self._minders, door_minders(orphaned, tuple(serving), self._minders)
        for door, minder in before.items():
            if minder in serving and self._minders.get(door) != minder:
                serving[minder].leave(door)
        for door, minder in self._minders.items():
            if before.get(door) != minder:
                serving[minder].mind(door)

    async def _keep_asking(self) -> None:
        """Asks every worker each second whether it is there: one that hangs keeps its socket and opens to nobody."""
        while True:
            workers = [slot.worker for slot in self.slots if slot.worker and slot.is_serving]
            answers = await asyncio.gather(*map(self._ask, workers))
            now_ms = self._clock.monotonic_ms()
            for worker, answered in zip(workers, answers, strict=True):
                self._heard(worker, now_ms, answered=answered)
            self._arrange_doors()
            await asyncio.sleep(ASK_EVERY_S)

    def _heard(self, worker: Worker, now_ms: int, *, answered: bool) -> None:
        if worker.silence is None or not worker.is_serving:
            return
        opened = worker.opens
        worker.silence.asked(now_ms, answered=answered)
        if worker.silence.is_hopeless:
            logger.error("worker hangs: killed", worker=worker.number, pid=worker.pid)
            worker.put_down()
        elif worker.opens is not opened:
            say = logger.info if worker.opens else logger.warning
            said = "worker answers again" if worker.opens else "worker does not answer"
            say(said, worker=worker.number, pid=worker.pid)

    async def _roll_when_asked(self) -> None:
        while True:
            await self._roll.wait()
            self._roll.clear()
            logger.info("rolling restart")
            if await self._roll_all():
                self._metrics.rollings.labels("done").inc()
                logger.info("rolling restart done")
            else:
                self._metrics.rollings.labels("broken_off").inc()
                logger.error("rolling restart broken off: the new worker does not serve")

    async def _roll_all(self) -> bool:
        """One slot after the other, so that only a share of all clients is on the move at a time."""
        for slot in self.slots:
            try:
                slot.successor = successor = await self._launch(slot)
            except OSError as error:
                logger.error("worker could not be started", worker=slot.number, error=str(error))
                return False
            served = await successor.serves(READY_WITHIN_S)
            slot.successor = None
            if not served:
                # With the settings and the code on disk as they are now none starts: what runs is all there is.
                successor.kill()
                return False
            before, slot.worker = slot.worker, successor
            slot.deaths.settled()
            if before is not None:
                await self._dismiss(before)
        return True

    async def _dismiss_all(self) -> None:
        present = {worker for slot in self.slots for worker in (slot.worker, slot.successor) if worker}
        await asyncio.gather(*(worker.dismiss() for worker in present | self._leaving))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        if self._tasks is None:
            raise RuntimeError("the supervisor does not run")
        return self._tasks.create_task(work)

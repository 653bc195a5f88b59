"""The thread that has the device: it loads, switches and draws; everything else only waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

import torch

from backend.errors import InvalidArgument, LorapoolError
from backend.inference import batching, drawing, memory, model
from backend.inference.batching import Waiting
from backend.inference.catalog import Catalog, native_side
from backend.inference.drawing import Abandoned, StepwiseDrawing
from backend.inference.model import Applied, LoadedModel
from backend.inference.request import GenerationRequest
from backend.inference.shelf import Shelf, file_key
from backend.inference.ticket import ChosenLora, DrawingFailed, Ticket

log = logging.getLogger("lorapool.inference")

MOST_PICTURES = 64
"""Pictures that may be under way together."""


class Engine:
    """Draws tickets; `submit`, `unload`, `warm`, `loaded` and `close` may be called from any thread."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._wake = threading.Condition()
        self._waiting: list[Ticket] = []
        self._orders: list[Callable[[], None]] = []
        self._closing = False
        self._under_way: list[tuple[Ticket, StepwiseDrawing]] = []
        self._kind: Hashable | None = None
        self._model: LoadedModel | None = None
        self._at_once = 1
        self._shelf = Shelf()
        self._thread = threading.Thread(target=self._live, name="engine", daemon=True)
        self._thread.start()

    @property
    def loaded(self) -> tuple[str, ...]:
        """The models and LoRAs in memory, by every name that they may be asked by."""
        return self._shelf.loaded

    @property
    def load_seconds(self) -> float:
        """How long the last base model took to be read; 0 before the first."""
        return self._shelf.load_seconds

    def submit(self, request: GenerationRequest, seed: int) -> Ticket:
        """Queue a query; `seed` is for one that names none.

        Raises:
            InvalidArgument: a name is not known.
        """
        entry = self._catalog.model(request.model)
        loras = tuple(
            ChosenLora(
                self._catalog.lora(lora.name, f"loras[{place}].name"),
                lora.name,
                lora.weight,
                f"loras[{place}].name",
            )
            for place, lora in enumerate(request.loras)
        )
        first = request.seed if request.seed is not None else seed
        side = native_side(entry)
        ticket = Ticket(
            request,
            entry,
            loras,
            tuple((first + n) % 2**32 for n in range(request.count)),
            kind=(
                file_key(entry),
                tuple((file_key(each.entry), each.weight) for each in loras),
                request.width or side,
                request.height or side,
            ),
        )
        with self._wake:
            self._waiting.append(ticket)
            self._wake.notify()
        return ticket

    def unload(self) -> None:
        """Give all memory back; comes back when that is done. What is under way is ended first."""
        done = threading.Event()

        def order() -> None:
            self._forget()
            done.set()

        self._order(order)
        done.wait()

    def warm(self, names: list[str]) -> None:
        """Load these again, as far as they are there, once nothing else is to be done."""
        self._shelf.loaded = tuple(names)  # soon: who asks meanwhile may as well come here
        self._order(lambda: self._warm(names))

    def close(self) -> None:
        """End the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(10.0)

    def _order(self, order: Callable[[], None]) -> None:
        with self._wake:
            self._orders.append(order)
            self._wake.notify()

    def _live(self) -> None:
        while True:
            with self._wake:
                while not (self._closing or self._waiting or self._under_way or self._orders):
                    self._wake.wait()
                if self._closing:
                    return
            try:
                self._round()
            except Exception as error:
                log.exception("a round of drawing failed")
                self._fail_all(DrawingFailed(f"drawing failed: {error}"))

    def _round(self) -> None:
        self._drop_cancelled()
        if not self._under_way:
            with self._wake:
                orders, self._orders = self._orders, []
            for order in orders:
                order()
        self._admit()
        if self._under_way:
            try:
                self._step()
            except torch.OutOfMemoryError:
                self._fail_all(_out_of_memory())
                model.release()

    def _drop_cancelled(self) -> None:
        with self._wake:
            self._waiting = [ticket for ticket in self._waiting if not ticket.cancelled]
        self._under_way = [pair for pair in self._under_way if not pair[0].cancelled]

    def _fail_all(self, error: LorapoolError) -> None:
        for ticket, _ in self._under_way:
            ticket.set(error=error)
        self._under_way = []

    def _admit(self) -> None:
        with self._wake:
            if self._orders:  # they wait for the device, and go before what has not begun
                return
            tickets = list(self._waiting)
            seen = [Waiting(t.kind, t.since, len(t.seeds)) for t in tickets]
            room = MOST_PICTURES - sum(d.pictures for _, d in self._under_way)
            self._kind, places = batching.joining(
                seen, self._kind, now=time.monotonic(), room=room, busy=bool(self._under_way)
            )
            begin = [tickets[place] for place in places]
            self._waiting = [ticket for ticket in self._waiting if ticket not in begin]
        for ticket in begin:
            try:
                self._begin(ticket)
            except LorapoolError as error:
                ticket.set(error=error)
            except Abandoned:
                ticket.set(error=DrawingFailed("it was cancelled"))
            except torch.OutOfMemoryError:
                ticket.set(error=_out_of_memory())
                model.release()
            except Exception as error:
                log.exception("a query could not be drawn")
                ticket.set(error=DrawingFailed(f"it could not be drawn: {error}"))

    def _begin(self, ticket: Ticket) -> None:
        if not self._under_way:
            self._prepare(ticket)
        loaded = self._model
        assert loaded is not None
        request = ticket.request
        width, height = request.width or loaded.native_size, request.height or loaded.native_size
        _check_size(loaded, width, height)
        there = self._shelf.room_for(memory.of_picture(loaded, width, height), loaded)
        self._at_once = memory.at_once(loaded, width, height, there)
        ticket.set(phase="drawing", scheduler=type(loaded.pipeline.scheduler).__name__)
        if not loaded.stepwise:

            def stepped(step: int, steps: int) -> None:
                if ticket.cancelled:
                    raise Abandoned
                ticket.set(step=step, steps=steps)

            drawn = drawing.draw_whole(loaded, request, width, height, ticket.seeds, stepped)
            ticket.set(drawn=drawn)
            return
        begun = StepwiseDrawing(loaded, request, width, height, ticket.seeds)
        ticket.set(steps=begun.steps)
        self._under_way.append((ticket, begun))

    def _prepare(self, ticket: Ticket) -> None:
        """Have the ticket's model with its LoRAs, and nothing else, in the weights."""
        shelf, entry = self._shelf, ticket.entry
        if not shelf.has(entry):
            ticket.set(phase="loading the model")
            self._model = None
        self._model = shelf.model(entry, asked=ticket.request.model)
        self._model.use([self._applied(each) for each in ticket.loras])
        shelf.tidy(self._model)

    def _applied(self, chosen: ChosenLora) -> Applied:
        try:
            key = str(file_key(chosen.entry))
            lora = self._shelf.lora(chosen.entry, asked=chosen.asked, field=chosen.field)
        except FileNotFoundError:
            raise InvalidArgument(chosen.field, f"{chosen.entry.name} has just been removed") from None
        return Applied(key, lora, chosen.weight, chosen.field)

    def _warm(self, names: list[str]) -> None:
        for name in names:
            try:
                entry = self._catalog.model(name)
                if not self._shelf.has(entry):
                    self._model = None
                self._shelf.model(entry, asked=name)
            except LorapoolError:
                continue
        self._shelf.tidy(self._model)

    def _forget(self) -> None:
        self._model, self._kind = None, None
        self._shelf.clear()

    def _step(self) -> None:
        loaded = self._model
        assert loaded is not None
        drawing.make_step([drawn for _, drawn in self._under_way], 2 * self._at_once)
        finished = [(ticket, drawn) for ticket, drawn in self._under_way if drawn.done]
        self._under_way = [pair for pair in self._under_way if not pair[1].done]
        for ticket, drawn in self._under_way:
            every = ticket.request.preview_every
            news: dict[str, Any] = {"step": drawn.step}
            if every and drawn.step % every == 0:
                news["preview"] = (drawn.step, drawing.decoded(loaded, drawn.preview(), 1))
            ticket.set(**news)
        for ticket, drawn in finished:
            if not bool(torch.isfinite(drawn.latents).all()):
                ticket.set(error=_not_finite(ticket.request))
        finished = [(ticket, drawn) for ticket, drawn in finished if not ticket.over]
        if finished:
            pixels = drawing.decoded(loaded, torch.cat([d.latents for _, d in finished]), self._at_once)
            start = 0
            for ticket, drawn in finished:
                part = pixels[start : start + drawn.pictures]
                start += drawn.pictures
                ticket.set(step=drawn.step, drawn=part)


def _check_size(loaded: LoadedModel, width: int, height: int) -> None:
    factor = loaded.pixels_per_latent
    for side, pixels in (("width", width), ("height", height)):
        if pixels % factor:
            near = max(factor, round(pixels / factor) * factor)
            raise InvalidArgument(
                side, f"is {pixels}; this model needs a multiple of {factor}, such as {near}"
            )


def _not_finite(request: GenerationRequest) -> InvalidArgument:
    field = "loras" if request.loras else "guidance"
    return InvalidArgument(
        field,
        "the picture grew beyond all numbers while it was drawn; lower the weights of the LoRAs or the guidance",
    )


def _out_of_memory() -> InvalidArgument:
    return InvalidArgument(
        "width", "the device ran out of memory; choose a smaller size, fewer pictures or a smaller model"
    )

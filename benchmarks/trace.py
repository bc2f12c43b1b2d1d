"""When named functions of the product began and ended, from wrappers put around them for the time of a measurement."""

import asyncio
import functools
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call, on the clock of `time.perf_counter`, and the asyncio task that made it (None in a thread)."""

    name: str
    begin: float
    end: float
    task: object

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.begin


class Trace:
    """Calls of the watched functions, in the order in which they ended."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    @contextmanager
    def watching(self, **functions: tuple[object, str]) -> Iterator[None]:
        """Note the calls of functions, given as a name for them, their owner (module or class) and attribute.

        Of one that gives an asynchronous context, the time in that context is noted. An attribute that does not exist
        is an `AttributeError`: the product has changed, and this has to follow.
        """
        with ExitStack() as stack:
            for name, (owner, attribute) in functions.items():
                wrapped = self._wrapped(name, getattr(owner, attribute))
                stack.enter_context(mock.patch.object(owner, attribute, wrapped))
            yield

    def of(self, name: str, *, since: float = 0.0) -> list[Call]:
        """The calls under that name that began at that time or later."""
        return [call for call in self.calls if call.name == name and since <= call.begin]

    def _wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **options: Any) -> Any:
                with self._noted(name):
                    return await function(*args, **options)

            return awaited

        if inspect.isasyncgenfunction(inspect.unwrap(function)):

            @asynccontextmanager
            async def entered(*args: Any, **options: Any) -> AsyncIterator[Any]:
                with self._noted(name):
                    async with function(*args, **options) as value:
                        yield value

            return entered

        @functools.wraps(function)
        def called(*args: Any, **options: Any) -> Any:
            with self._noted(name):
                return function(*args, **options)

        return called

    @contextmanager
    def _noted(self, name: str) -> Iterator[None]:
        try:
            task: object = asyncio.current_task()
        except RuntimeError:  # not on an event loop
            task = None
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.calls.append(Call(name=name, begin=begin, end=time.perf_counter(), task=task))

"""New files that are complete under their name or not there at all."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO

from discord_recorder.errors import StorageError, UserError
from discord_recorder.storage.files import sync_file, sync_folder


@asynccontextmanager
async def new_file(target: Path, *, force: bool) -> AsyncIterator[Path]:
    """A file beside `target` to write, which takes that name when the block ends well, and is gone otherwise.

    Raises:
        UserError: something is there, and is not to be replaced.
        StorageError: the disk did not take it.
    """
    async with scratch_file(target.parent) as part:
        yield part
        with told_of(target):
            await asyncio.to_thread(_publish, part, target, force=force)


@asynccontextmanager
async def scratch_file(folder: Path) -> AsyncIterator[Path]:
    """An empty file in a folder that is gone when the block ends."""
    part = folder / f".{secrets.token_hex(8)}.part"
    with told_of(part):
        await asyncio.to_thread(part.touch, exist_ok=False)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


async def write_blocks(
    target: Path, blocks: AsyncGenerator[bytes, None], advance: Callable[[int], object], *, header: bytes = b""
) -> None:
    """Write a file; raises `StorageError`.

    Args:
        target: where; what is there is replaced.
        blocks: the bytes; closed when this ends.
        advance: told of every so many of them that are written.
        header: what stands before them.
    """
    with told_of(target), _opened(target) as file:
        file.write(header)
        async with aclosing(blocks):
            async for block in blocks:
                await asyncio.to_thread(file.write, block)
                advance(len(block))


def _opened(target: Path) -> BinaryIO:
    return target.open("wb")


@contextmanager
def told_of(target: Path) -> Iterator[None]:
    """Turn what the system says into a `StorageError` that names the file."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{target} could not be written: {error.strerror}.") from error


def refuse_to_overwrite(targets: Sequence[Path]) -> None:
    """Raise `UserError` if any of these is there."""
    there = [target for target in targets if target.exists()]
    if there:
        others = f" and {len(there) - 1} more are" if len(there) > 1 else " is"
        raise UserError(
            f"{there[0]}{others} already there, nothing was replaced. --force replaces, --to names another folder."
        )


def _publish(part: Path, target: Path, *, force: bool) -> None:
    sync_file(part)
    if not force:
        refuse_to_overwrite([target])
    part.replace(target)
    sync_folder(target.parent)

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from discord_recorder.audio.ffmpeg import PCM_FORMAT, PIPE_OUTPUT, Ffmpeg, find_ffmpeg
from discord_recorder.audio.pcm import SAMPLE_BYTES, SAMPLE_RATE
from discord_recorder.errors import FfmpegError, FfmpegNotFoundError, FfmpegTimeoutError, NotAudioError
from tests.audio.programs import Lifeline, script
from tests.audio.signals import dbfs, from_pcm, run_ffmpeg, to_pcm, tone

HANG = "sleep 1000 & sleep 1000"
WAY_OUT = "DISCORD_RECORDER_FFMPEG_PATH"


async def decoded_by(ffmpeg: Ffmpeg, path: Path) -> list[bytes]:
    return [block async for block in ffmpeg.decode(path)]


def wav(path: Path, seconds: float = 0.1) -> bytes:
    """Write a tone to the file and give its PCM."""
    pcm = to_pcm(tone(round(seconds * SAMPLE_RATE)))
    data = run_ffmpeg(*PCM_FORMAT, "-i", "pipe:0", "-f", "wav", "pipe:1", stdin=pcm)
    path.write_bytes(data)
    return pcm


class TestFind:
    def test_default_is_the_wheels_binary(self) -> None:
        assert os.access(find_ffmpeg(None), os.X_OK)
        assert find_ffmpeg("") == find_ffmpeg(None)

    def test_path_and_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program = script(tmp_path, "exit 0")
        assert find_ffmpeg(program) == program
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_ffmpeg("ffmpeg") == program
        monkeypatch.chdir(tmp_path)
        assert find_ffmpeg("./ffmpeg") == program

    @pytest.mark.parametrize("setting", ["/nowhere/ffmpeg", "no-such-program", "/tmp"])
    def test_nothing_there(self, setting: str) -> None:
        with pytest.raises(FfmpegNotFoundError, match=WAY_OUT):
            find_ffmpeg(setting)

    def test_wheel_without_binary(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "")
        monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: (_ for _ in ()).throw(RuntimeError("none")))
        with pytest.raises(FfmpegNotFoundError, match=WAY_OUT):
            find_ffmpeg(None)


async def in_blocks(pcm: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    for start in range(0, len(pcm), size):
        yield pcm[start : start + size]


class TestEncode:
    async def test_input_of_any_length(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        pcm = to_pcm(tone(5 * SAMPLE_RATE + 7))
        await ffmpeg.encode((*PCM_FORMAT, "-i", "pipe:0", "-f", "flac", f"file:{tmp_path}/a"), in_blocks(pcm))
        assert run_ffmpeg("-i", tmp_path / "a", *PCM_FORMAT, "pipe:1") == pcm

    async def test_a_program_that_takes_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(FfmpegError, match="code 3: no room"):
            await Ffmpeg(script(tmp_path, "echo no room >&2; exit 3")).encode((), in_blocks(bytes(5_000_000)))

    async def test_a_program_that_hangs_is_killed(self, tmp_path: Path) -> None:
        lifeline = Lifeline(tmp_path)
        ffmpeg = Ffmpeg(script(tmp_path, f"{lifeline.hold()}; {HANG}"), 0.5)
        with pytest.raises(FfmpegTimeoutError, match=r"took nothing for 0\.5 s"):
            await ffmpeg.encode((), in_blocks(bytes(5_000_000)))
        lifeline.wait_for_death()

    async def test_what_the_input_raises(self, tmp_path: Path) -> None:
        lifeline = Lifeline(tmp_path)

        async def broken() -> AsyncIterator[bytes]:
            yield b"1234"
            await asyncio.to_thread(lifeline.wait_for_life)
            raise NotAudioError("it is damaged")

        with pytest.raises(NotAudioError, match="it is damaged"):
            await Ffmpeg(script(tmp_path, f"{lifeline.hold()}; {HANG}")).encode((), broken())
        await asyncio.to_thread(lifeline.wait_for_death)

    async def test_no_program(self) -> None:
        with pytest.raises(FfmpegNotFoundError, match=WAY_OUT):
            await Ffmpeg("/nowhere/ffmpeg").encode((), in_blocks(b""))


class TestRun:
    async def test_passes_input_through(self, ffmpeg: Ffmpeg) -> None:
        pcm = to_pcm(tone(5 * SAMPLE_RATE))
        assert await ffmpeg.run((*PCM_FORMAT, "-i", "pipe:0", *PCM_FORMAT, *PIPE_OUTPUT), stdin=pcm) == pcm

    async def test_runs_side_by_side(self, ffmpeg: Ffmpeg) -> None:
        inputs = [to_pcm(tone(SAMPLE_RATE, hertz=100 * n)) for n in range(1, 9)]
        args = (*PCM_FORMAT, "-i", "pipe:0", *PCM_FORMAT, *PIPE_OUTPUT)
        assert await asyncio.gather(*(ffmpeg.run(args, stdin=pcm) for pcm in inputs)) == inputs

    async def test_arguments_are_no_shell_code(self, tmp_path: Path) -> None:
        program = script(tmp_path, 'for last; do :; done; printf %s "$last"')
        weird = "$(touch x); `id` 'a' \"b\" *\n"
        assert await Ffmpeg(program).run([weird]) == weird.encode()

    async def test_failure_tells_code_and_last_lines(self, tmp_path: Path) -> None:
        program = script(tmp_path, "for n in 1 2 3 4 5 6 7; do echo line $n >&2; done; exit 3")
        with pytest.raises(FfmpegError, match=r"code 3.*line 6.*line 7") as caught:
            await Ffmpeg(program).run([])
        assert "line 1" not in str(caught.value)

    async def test_real_failure_is_told(self, ffmpeg: Ffmpeg) -> None:
        with pytest.raises(FfmpegError, match="No such file or directory"):
            await ffmpeg.run(["-i", "/nowhere.wav", *PCM_FORMAT, *PIPE_OUTPUT])

    async def test_flood_on_stderr_is_drained_and_bounded(self, tmp_path: Path) -> None:
        flood = "head -c 5000000 /dev/zero | tr '\\0' x >&2"
        assert await Ffmpeg(script(tmp_path, f"{flood}; echo done")).run([]) == b"done\n"
        with pytest.raises(FfmpegError) as caught:
            await Ffmpeg(script(tmp_path, f"{flood}; exit 1")).run([])
        assert len(str(caught.value)) < 5000

    async def test_unread_input_is_no_error(self, tmp_path: Path) -> None:
        assert await Ffmpeg(script(tmp_path, "echo enough")).run([], stdin=bytes(10_000_000)) == b"enough\n"

    async def test_unread_input_hides_no_failure(self, tmp_path: Path) -> None:
        with pytest.raises(FfmpegError, match="code 4"):
            await Ffmpeg(script(tmp_path, "exit 4")).run([], stdin=bytes(10_000_000))

    async def test_without_input_it_waits_for_none(self, tmp_path: Path) -> None:
        assert (
            await Ffmpeg(script(tmp_path, 'echo "$@"; cat')).run(["-x"])
            == b"-hide_banner -loglevel error -nostdin -x\n"
        )

    async def test_time_limit_kills_the_whole_group(self, tmp_path: Path) -> None:
        lifeline = Lifeline(tmp_path)
        program = script(tmp_path, f"{lifeline.hold()}; {HANG}")
        with pytest.raises(FfmpegTimeoutError, match=r"0\.3 s"):
            await Ffmpeg(program).run([], time_limit_seconds=0.3)
        lifeline.wait_for_death()

    async def test_time_limit_of_the_constructor_while_input_is_not_read(self, tmp_path: Path) -> None:
        lifeline = Lifeline(tmp_path)
        program = script(tmp_path, f"{lifeline.hold()}; {HANG}")
        with pytest.raises(FfmpegTimeoutError):
            await Ffmpeg(program, 0.3).run([], stdin=bytes(10_000_000))
        lifeline.wait_for_death()

    async def test_children_that_outlive_the_program_are_killed(self, tmp_path: Path) -> None:
        lifeline = Lifeline(tmp_path)
        program = script(tmp_path, f"{lifeline.hold()}; sleep 1000 & exit 0")
        with pytest.raises(FfmpegTimeoutError):
            await Ffmpeg(program, 0.3).run([])
        lifeline.wait_for_death()

    async def test_cancellation_kills_the_whole_group(self, tmp_path: Path) -> None:
        lifeline = Lifeline(tmp_path)
        program = script(tmp_path, f"{lifeline.hold()}; {HANG}")
        run = asyncio.create_task(Ffmpeg(program).run([], stdin=bytes(10_000_000)))
        await asyncio.to_thread(lifeline.wait_for_life)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        lifeline.wait_for_death()

    async def test_cancellation_while_it_starts(self, tmp_path: Path) -> None:
        lifeline = Lifeline(tmp_path)
        program = script(tmp_path, f"{lifeline.hold()}; {HANG}")
        for turns in range(8):  # of the event loop: before, during and after the start
            run = asyncio.create_task(Ffmpeg(program).run([]))
            for _ in range(turns):
                await asyncio.sleep(0)
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run
        lifeline.wait_for_death()

    async def test_missing_program(self, tmp_path: Path) -> None:
        no_program = tmp_path / "plain.txt"
        no_program.write_text("no program")
        for path in ("/nowhere/ffmpeg", str(no_program), str(tmp_path)):
            with pytest.raises(FfmpegNotFoundError, match=WAY_OUT):
                await Ffmpeg(path).run([])

    async def test_foreign_binary(self, tmp_path: Path) -> None:
        foreign = tmp_path / "foreign"
        foreign.write_bytes(b"\x7fNOTELF")
        foreign.chmod(stat.S_IRWXU)
        with pytest.raises(FfmpegNotFoundError, match=WAY_OUT):
            await Ffmpeg(str(foreign)).run([])


class TestDecode:
    async def test_streams_whole_samples_of_the_one_format(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        pcm = wav(tmp_path / "a.wav", 3.3)
        blocks = await decoded_by(ffmpeg, tmp_path / "a.wav")
        assert b"".join(blocks) == pcm
        assert [len(block) for block in blocks] == [SAMPLE_RATE * SAMPLE_BYTES] * 3 + [len(pcm) % 192_000]

    async def test_other_rates_and_channels_are_converted(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        path = tmp_path / "a.flac"
        pcm = to_pcm(tone(SAMPLE_RATE, level=0.5))
        path.write_bytes(
            run_ffmpeg(*PCM_FORMAT, "-i", "pipe:0", "-ar", "44100", "-ac", "1", "-f", "flac", "pipe:1", stdin=pcm)
        )
        heard = from_pcm(b"".join(await decoded_by(ffmpeg, path)))
        assert abs(len(heard) - SAMPLE_RATE) < 50
        assert dbfs(heard) == pytest.approx(-6, abs=0.2)  # as loud as it was
        assert np.array_equal(heard[:, 0], heard[:, 1])

    @pytest.mark.parametrize(
        "name",
        [
            "-i.wav",
            "a:b.wav",
            "http:x.wav",
            "concat:x|y.wav",
            "%03d.wav",
            "sp ace 'q\" $(x) \n.wav",
            "ü€😀.wav",
            "*?[a].wav",
        ],
    )
    async def test_weird_names(
        self, ffmpeg: Ffmpeg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        pcm = wav(tmp_path / name)
        assert b"".join(await decoded_by(ffmpeg, tmp_path / name)) == pcm
        monkeypatch.chdir(tmp_path)
        assert b"".join(await decoded_by(ffmpeg, Path(name))) == pcm

    @pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take UTF-8 only")
    async def test_names_that_are_no_text(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        path = tmp_path / os.fsdecode(b"\xff\xfe.wav")
        pcm = wav(path)
        assert b"".join(await decoded_by(ffmpeg, path)) == pcm

    async def test_what_is_no_audio(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        text, empty, video = tmp_path / "notes.txt", tmp_path / "empty.wav", tmp_path / "video.mkv"
        text.write_text("not audio\n" * 100)
        empty.write_bytes(b"")
        run_ffmpeg("-f", "lavfi", "-i", "color=size=16x16:duration=0.2", "-c:v", "ffv1", video)
        for path in (text, empty, video, tmp_path / "missing.wav", tmp_path):
            with pytest.raises(NotAudioError, match=path.name) as caught:
                await decoded_by(ffmpeg, path)
            assert len(str(caught.value)) > len(f"'{path.name}' holds no audio that FFmpeg can read: ")

    async def test_audio_without_a_sample_is_none(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        wav(tmp_path / "a.wav", 0)
        with pytest.raises(NotAudioError):
            await decoded_by(ffmpeg, tmp_path / "a.wav")

    async def test_of_a_film_only_the_sound(self, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
        film = tmp_path / "film.mkv"
        picture = ("-f", "lavfi", "-i", "color=size=16x16:duration=0.5")
        sound = ("-f", "lavfi", "-i", "sine=sample_rate=48000:duration=0.5")
        run_ffmpeg(*picture, *sound, "-c:v", "ffv1", "-c:a", "pcm_s16le", film)
        assert sum(map(len, await decoded_by(ffmpeg, film))) == SAMPLE_RATE // 2 * SAMPLE_BYTES

    @pytest.mark.parametrize(
        "playlist",
        [
            "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}/a.ts\n#EXT-X-ENDLIST\n",
            "ffconcat version 1.0\nfile '{url}/a.wav'\n",
        ],
    )
    async def test_playlist_fetches_nothing(self, ffmpeg: Ffmpeg, tmp_path: Path, playlist: str) -> None:
        visits = 0

        def visit(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal visits
            visits += 1
            writer.close()

        async with await asyncio.start_server(visit, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            path = tmp_path / "list.m3u8"
            path.write_text(playlist.format(url=f"http://127.0.0.1:{port}"))
            with pytest.raises(NotAudioError, match=r"list\.m3u8"):
                await decoded_by(ffmpeg, path)
        assert visits == 0

    async def test_leaving_early_kills(self, tmp_path: Path) -> None:
        lifeline = Lifeline(tmp_path)
        program = script(tmp_path, f"{lifeline.hold()}; yes")
        async with aclosing(Ffmpeg(program).decode(tmp_path / "endless")) as blocks:
            assert len(await anext(blocks)) == SAMPLE_RATE * SAMPLE_BYTES
        lifeline.wait_for_death()

    async def test_cancellation_kills(self, tmp_path: Path) -> None:
        lifeline = Lifeline(tmp_path)
        program = script(tmp_path, f"{lifeline.hold()}; {HANG}")
        run = asyncio.create_task(decoded_by(Ffmpeg(program), tmp_path / "a"))
        await asyncio.to_thread(lifeline.wait_for_life)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        lifeline.wait_for_death()

    async def test_standstill_is_a_time_out(self, tmp_path: Path) -> None:
        lifeline = Lifeline(tmp_path)
        program = script(tmp_path, f"{lifeline.hold()}; {HANG}")
        with pytest.raises(FfmpegTimeoutError, match="'a'"):
            await decoded_by(Ffmpeg(program, 0.3), tmp_path / "a")
        lifeline.wait_for_death()

    async def test_half_a_sample_at_the_end_is_dropped(self, tmp_path: Path) -> None:
        program = script(tmp_path, "head -c 1003 /dev/zero")
        assert list(map(len, await decoded_by(Ffmpeg(program), tmp_path / "a"))) == [1000]

    async def test_missing_program(self, tmp_path: Path) -> None:
        with pytest.raises(FfmpegNotFoundError):
            await decoded_by(Ffmpeg("/nowhere/ffmpeg"), tmp_path / "a")

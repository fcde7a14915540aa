"""A server of asyncssh's that runs /bin/true, writes zeros, or takes input: `PORT HOST_KEY PUBLIC_KEY`."""

import asyncio
import sys
from typing import Any

_LINES = {
    "zeros": ["/usr/bin/head", "/dev/zero", "-c"],
    "sink": ["/bin/sh", "-c", "exec /bin/cat > /dev/null"],
}


async def _run(process: Any) -> None:  # noqa: ANN401 - of a library without types here
    """Run /bin/true, and send what it says."""
    null, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec("/bin/true", stdin=null, stdout=pipe, stderr=pipe)
    out, errors = await child.communicate()
    process.stdout.write(out)
    process.stderr.write(errors)
    process.exit(child.returncode)


async def _move(process: Any, line: list[str]) -> None:  # noqa: ANN401 - as above
    """Run what moves many bytes, by the library's own redirection."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*line, stdin=pipe, stdout=pipe)
    await process.redirect(stdin=child.stdin, stdout=child.stdout)
    status = await child.wait()
    await process.stdout.drain()
    process.exit(status)


async def _handle(process: Any) -> None:  # noqa: ANN401 - as above
    name, *words = process.command.split()
    if name in _LINES:
        await _move(process, [*_LINES[name], *words])
    else:
        await _run(process)


async def serve(port: int, host_key: str, authorized: str) -> None:
    """Serve until told to end."""
    library: Any = __import__("asyncssh")
    await library.listen(
        "127.0.0.1",
        port,
        server_host_keys=[host_key],
        authorized_client_keys=authorized,
        process_factory=_handle,
        encoding=None,
        encryption_algs=["aes128-gcm@openssh.com"],
        kex_algs=["curve25519-sha256"],
        compression_algs=["none"],
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))

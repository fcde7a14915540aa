"""A server of asyncssh's that runs /bin/true: `asyncssh_server PORT HOST_KEY PUBLIC_KEY`."""

import asyncio
import sys
from typing import Any


async def serve(port: int, host_key: str, authorized: str) -> None:
    """Serve until told to end."""
    library: Any = __import__("asyncssh")

    async def handle(process: Any) -> None:  # noqa: ANN401 - of a library without types here
        null = asyncio.subprocess.DEVNULL
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec("/bin/true", stdin=null, stdout=pipe, stderr=pipe)
        out, errors = await child.communicate()
        process.stdout.write(out.decode())
        process.stderr.write(errors.decode())
        process.exit(child.returncode)

    await library.listen(
        "127.0.0.1",
        port,
        server_host_keys=[host_key],
        authorized_client_keys=authorized,
        process_factory=handle,
        encryption_algs=["aes128-gcm@openssh.com"],
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))

#!/usr/bin/env python3
"""A slow, distant link on this machine: a TCP proxy that delays every byte and lets no more than so many pass a second.

usage: link.py TO_HOST:PORT [--round-trip-ms 50] [--mbit 200]
Prints `listening on PORT`, and ends with SIGTERM. Each direction has the whole rate; all connections share it.
"""
import argparse
import asyncio
import signal

CHUNK_BYTES = 16 << 10
# What a link holds between its ends: rate times delay, and the buffers of its routers.
WINDOW_BYTES = 4 << 20


class Direction:
    """One way of the link: bytes leave it in order, `delay` after the moment at which the rate let them on."""

    def __init__(self, delay, bytes_per_second):
        self.delay = delay
        self.rate = bytes_per_second
        self.free_at = 0.0
        self.bytes = 0

    def departs(self, size, now):
        self.free_at = max(self.free_at, now) + size / self.rate
        self.bytes += size
        return self.free_at + self.delay

    async def carry(self, reader, writer):
        loop = asyncio.get_running_loop()
        under_way = asyncio.Queue()
        room = asyncio.Semaphore(WINDOW_BYTES // CHUNK_BYTES)

        async def arrive():
            while (item := await under_way.get()) is not None:
                when, data = item
                await asyncio.sleep(max(0, when - loop.time()))
                writer.write(data)
                await writer.drain()
                room.release()
            if writer.can_write_eof():
                writer.write_eof()

        arriving = asyncio.create_task(arrive())
        try:
            while data := await reader.read(CHUNK_BYTES):
                await room.acquire()
                under_way.put_nowait((self.departs(len(data), loop.time()), data))
        except ConnectionError:
            pass
        under_way.put_nowait(None)
        try:
            await arriving
        except (ConnectionError, OSError):
            pass


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("to")
    parser.add_argument("--round-trip-ms", type=float, default=50)
    parser.add_argument("--mbit", type=float, default=200)
    options = parser.parse_args()
    host, port = options.to.rsplit(":", 1)
    rate = options.mbit * 1e6 / 8
    up, down = (Direction(options.round_trip_ms / 2000, rate) for _ in range(2))

    async def connected(near_reader, near_writer):
        try:
            # The handshake takes a round trip, too.
            await asyncio.sleep(options.round_trip_ms / 1000)
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            near_writer.close()
            return
        await asyncio.gather(up.carry(near_reader, far_writer), down.carry(far_reader, near_writer))
        near_writer.close()
        far_writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    print(f"{up.bytes} bytes there, {down.bytes} bytes back", flush=True)


asyncio.run(main())

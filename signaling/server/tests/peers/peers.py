"""Independent programs publish by WHIP and watch by WHEP, through the real program.

Run by `.ci/test peers`, in a network of its own. What is decoded at the far end is what counts: the
colour of the picture and the pitch of the tone.
"""

import array
import asyncio
import contextlib
import fractions
import json
import math
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

import aioice.turn
import av
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, VideoStreamTrack

HERE = pathlib.Path(__file__).parent
PROGRAM = pathlib.Path(os.environ["BROLETTO_BIN_DIR"]) / "broletto"
# Not loopback, which ICE agents pass over.
ADDRESS = os.environ["BROLETTO_PEERS_ADDRESS"]
PATIENCE_S = 30
RATE_HZ = 48_000
TONE_HZ = 440
TURN_SECRET = "known to coturn and Broletto alone"
RED = (200, 30, 30)


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as found:
        found.bind((ADDRESS, 0))
        return found.getsockname()[1]


class Server:
    """The program, on ports of its own."""

    def __init__(self, **settings):
        self.directory = tempfile.mkdtemp(prefix="broletto-peers-")
        self.port = free_port(socket.SOCK_STREAM)
        environment = {
            "BROLETTO_HTTP__LISTEN": f"{ADDRESS}:{self.port}",
            "BROLETTO_HTTPS__LISTEN": "",
            "BROLETTO_OPS__LISTEN": "127.0.0.1:0",
            "BROLETTO_MEDIA__BIND": ADDRESS,
            "BROLETTO_MEDIA__UDP_PORT_BASE": str(free_port(socket.SOCK_DGRAM)),
            "BROLETTO_MEDIA__TCP": "false",
            "BROLETTO_MEDIA__WORKERS": "1",
            **settings,
        }
        # No setting of the machine's own.
        inherited = {key: text for key, text in os.environ.items() if not key.startswith("BROLETTO_")}
        self.log = open(pathlib.Path(self.directory) / "log", "w+")
        self.process = subprocess.Popen(
            [PROGRAM],
            cwd=self.directory,
            env={**inherited, **environment},
            stdout=subprocess.DEVNULL,
            stderr=self.log,
        )
        deadline = time.monotonic() + PATIENCE_S
        while not self.answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.log.seek(0)
                raise AssertionError(self.log.read())
            time.sleep(0.1)

    def answers(self):
        try:
            return self.request("GET", "/api/v1/openapi.json")[0] == 200
        except urllib.error.URLError:
            return False

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.directory)

    def request(self, method, path, body=None, **headers):
        headers = {name.replace("_", "-"): text for name, text in headers.items()}
        url = f"http://{ADDRESS}:{self.port}{path}"
        request = urllib.request.Request(url, body and body.encode(), headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def room(self, *video_codecs):
        body = json.dumps({"title": "Peers", "video_codecs": video_codecs or None})
        status, _, text = self.request("POST", "/api/v1/rooms", body, Content_Type="application/json")
        assert status == 201, text
        return json.loads(text)

    def participants(self, room):
        authorization = f"Bearer {room['moderator_token']}"
        _, _, text = self.request("GET", f"/api/v1/rooms/{room['id']}", Authorization=authorization)
        return json.loads(text)["participants"]


class Colour(VideoStreamTrack):
    """A picture of one colour."""

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        frame = av.VideoFrame(320, 240, "rgb24")
        plane = frame.planes[0]
        row = bytes(RED) * frame.width
        plane.update(row.ljust(plane.line_size, b"\0") * frame.height)
        frame = frame.reformat(format="yuv420p")
        frame.pts, frame.time_base = pts, time_base
        return frame


class Tone(AudioStreamTrack):
    """A sine of one pitch."""

    sent = 0
    start = None

    async def recv(self):
        count = RATE_HZ // 50
        self.start = self.start or time.monotonic()
        await asyncio.sleep(self.start + self.sent / RATE_HZ - time.monotonic())
        turns = (2 * math.pi * TONE_HZ * (self.sent + index) / RATE_HZ for index in range(count))
        frame = av.AudioFrame("s16", "mono", count)
        frame.planes[0].update(array.array("h", (int(12_000 * math.sin(turn)) for turn in turns)).tobytes())
        frame.pts, frame.sample_rate = self.sent, RATE_HZ
        frame.time_base = fractions.Fraction(1, RATE_HZ)
        self.sent += count
        return frame


async def post(server, door, room, connection):
    """Offers, takes the answer, and gives the headers that came with it."""
    await connection.setLocalDescription(await connection.createOffer())
    status, headers, text = await asyncio.to_thread(
        server.request,
        "POST",
        f"/api/v1/{door}/{room['id']}?name=Peer",
        connection.localDescription.sdp,
        Content_Type="application/sdp",
    )
    assert status == 201, (status, text)
    await connection.setRemoteDescription(RTCSessionDescription(text, "answer"))
    return headers


@contextlib.asynccontextmanager
async def publisher(server, room):
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    connection.addTrack(Tone())
    connection.addTrack(Colour())
    try:
        yield await post(server, "whip", room, connection)
    finally:
        await connection.close()


async def watch(server, room):
    """Waits for a red picture and for the tone; says what came last if they do not."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    audio = connection.addTransceiver("audio", direction="recvonly")
    video = connection.addTransceiver("video", direction="recvonly")
    seen = {"colour": None, "pitch": None}
    try:
        headers = await post(server, "whep", room, connection)
        await asyncio.wait_for(
            asyncio.gather(until_red(video.receiver.track, seen), until_tone(audio.receiver.track, seen)),
            PATIENCE_S,
        )
        status, *_ = await asyncio.to_thread(server.request, "DELETE", headers["Location"])
        assert status == 200, status
    except (TimeoutError, MediaStreamError) as error:
        raise AssertionError(f"{error!r}, and {seen} was seen and heard last") from error
    finally:
        await connection.close()


async def until_red(track, seen):
    while seen["colour"] is None or any(abs(a - b) > 25 for a, b in zip(seen["colour"], RED)):
        frame = (await track.recv()).reformat(width=16, height=16, format="rgb24")
        plane = frame.planes[0]
        middle = 8 * plane.line_size + 8 * 3
        seen["colour"] = tuple(bytes(plane)[middle : middle + 3])


async def until_tone(track, seen):
    samples, resampler = array.array("h"), av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
    while seen["pitch"] is None or abs(seen["pitch"] - TONE_HZ) > 10:
        for frame in resampler.resample(await track.recv()):
            samples.frombytes(bytes(frame.planes[0])[: frame.samples * 2])
        if len(samples) >= RATE_HZ // 2:
            loud = max(map(abs, samples)) > 1_000
            rises = sum(before < 0 <= after for before, after in zip(samples, samples[1:]))
            seen["pitch"] = rises * RATE_HZ / len(samples) if loud else 0
            samples = array.array("h")


class Peers(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.turn_port = free_port(socket.SOCK_DGRAM)
        self.server = await asyncio.to_thread(
            Server,
            BROLETTO_ICE__TURN_URLS=f"turn:{ADDRESS}:{self.turn_port}?transport=udp",
            BROLETTO_ICE__TURN_SECRET=TURN_SECRET,
        )
        self.addCleanup(self.server.stop)

    async def test_aiortc_publishes_and_watches_each_codec(self):
        for codec in ["vp8", "h264"]:
            with self.subTest(codec=codec):
                room = self.server.room(codec)
                async with publisher(self.server, room) as headers:
                    await watch(self.server, room)
                    self.assertEqual(self.server.participants(room), 1)
                    self.assertEqual(self.server.request("DELETE", headers["Location"])[0], 200)
                    self.assertEqual(self.server.participants(room), 0)

    async def test_gstreamer_publishes_h264_and_aiortc_watches(self):
        room = self.server.room("h264")
        endpoint = f"http://{ADDRESS}:{self.server.port}/api/v1/whip/{room['id']}"
        # The system's Python has GStreamer's bindings; this one need not.
        command = ["/usr/bin/python3", HERE / "gstreamer_whip.py", endpoint, str(TONE_HZ), "%d,%d,%d" % RED]
        process = subprocess.Popen(command)
        try:
            await watch(self.server, room)
            self.assertIsNone(process.poll(), "it still publishes")
        finally:
            process.kill()
            process.wait()

    async def test_w7_coturn_takes_the_credentials_that_a_session_is_told_and_no_others(self):
        coturn = subprocess.Popen(
            [
                "turnserver", "-n", f"--listening-ip={ADDRESS}", f"--listening-port={self.turn_port}",
                f"--relay-ip={ADDRESS}", "--use-auth-secret", f"--static-auth-secret={TURN_SECRET}",
                "--realm=test", "--no-tls", "--no-dtls", "--no-cli", "--no-tcp", "--log-file=stdout",
                f"--pidfile={self.server.directory}/turnserver.pid",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with publisher(self.server, self.server.room()) as headers:
                link = headers["Link"]
            self.assertIn(f'<turn:{ADDRESS}:{self.turn_port}?transport=udp>; rel="ice-server"', link)
            username = re.search(r'username="([^"]+)"', link)[1]
            credential = re.search(r'credential="([^"]+)"', link)[1]
            self.assertGreater(int(username.split(":")[0]), time.time())
            later = str(int(username.split(":")[0]) + 1)
            await self.allocate(username, credential)
            for forged in [(username, credential[::-1]), (username.replace(username[:10], later), credential)]:
                with self.assertRaises(aioice.stun.TransactionError):
                    await self.allocate(*forged)
        finally:
            coturn.kill()
            coturn.wait()

    async def allocate(self, username, credential):
        """Asks coturn for a relay, and gives it back."""
        transport, _ = await aioice.turn.create_turn_endpoint(
            asyncio.DatagramProtocol,
            server_addr=(ADDRESS, self.turn_port),
            username=username,
            password=credential,
        )
        transport.close()
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    unittest.main(verbosity=2)

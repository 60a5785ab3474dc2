"""Publishes a picture of one colour, in H.264, and a tone by WHIP, with GStreamer's webrtcbin.

gstreamer_whip.py ENDPOINT PITCH_HZ RED,GREEN,BLUE
"""

import hashlib
import re
import ssl
import subprocess
import sys
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

endpoint, pitch, colour = sys.argv[1:]
red, green, blue = map(int, colour.split(","))

Gst.init(None)
loop = GLib.MainLoop()
pipeline = Gst.parse_launch(
    f"""
    webrtcbin name=peer bundle-policy=max-bundle
    videotestsrc is-live=true pattern=solid-color foreground-color={0xFF << 24 | red << 16 | green << 8 | blue}
      ! video/x-raw,width=320,height=240,framerate=30/1 ! videoconvert
      ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=60
      ! video/x-h264,profile=constrained-baseline ! rtph264pay config-interval=-1
      ! application/x-rtp,media=video,encoding-name=H264,payload=96 ! peer.
    audiotestsrc is-live=true freq={pitch} ! audioconvert ! audioresample
      ! audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay
      ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97 ! peer.
    """
)
peer = pipeline.get_by_name("peer")
# Left alone, webrtcbin 1.22 makes an RSA certificate; ours takes ECDSA, which RFC 8827 requires.
# webrtcbin takes the hash of all that it is given, the key too, so the fingerprint is corrected.
make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=peer -days 1"
made = subprocess.run([*make.split(), "-keyout", "-"], check=True, capture_output=True, text=True).stdout
certificate = ssl.PEM_cert_to_DER_cert(made[made.index("-----BEGIN CERTIFICATE") :].strip())
fingerprint = hashlib.sha256(certificate).digest().hex(":").upper()


def added(_bin, _within, element):
    factory = element.get_factory()
    if factory and factory.get_name() == "dtlssrtpdec":
        element.set_property("pem", made)


peer.connect("deep-element-added", added)


def offered(promise):
    # The offer is a part of the reply, and is gone with it.
    reply = promise.get_reply()
    offer = reply.get_value("offer")
    peer.emit("set-local-description", offer, Gst.Promise.new())
    sdp = re.sub("a=fingerprint:[^\r\n]*", f"a=fingerprint:sha-256 {fingerprint}", offer.sdp.as_text())
    request = urllib.request.Request(endpoint, sdp.encode(), {"Content-Type": "application/sdp"}, method="POST")
    with urllib.request.urlopen(request) as answer:
        _, sdp = GstSdp.SDPMessage.new_from_text(answer.read().decode())
    description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
    peer.emit("set-remote-description", description, Gst.Promise.new())


def negotiate(_):
    peer.emit("create-offer", None, Gst.Promise.new_with_change_func(offered))


def failed(_, message):
    print(message.parse_error(), file=sys.stderr)
    loop.quit()


peer.connect("on-negotiation-needed", negotiate)
bus = pipeline.get_bus()
bus.add_signal_watch()
bus.connect("message::error", failed)
pipeline.set_state(Gst.State.PLAYING)
loop.run()
sys.exit(1)

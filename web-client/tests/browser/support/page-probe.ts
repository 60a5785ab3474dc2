/**
 * Runs in the page before its own scripts: remembers every RTCPeerConnection and WebSocket, so
 * that a test can read statistics and cut a connection. The page does not know.
 */
export function installProbe(): void {
  const probe = {
    peers: [] as RTCPeerConnection[],
    sockets: [] as WebSocket[],
    /** When each frame of a watched video was presented, in ms. */
    frames: new Map<HTMLVideoElement, number[]>(),
  };
  (window as unknown as { __probe: typeof probe }).__probe = probe;

  const Peer = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Peer {
    constructor(configuration?: RTCConfiguration) {
      super(configuration);
      probe.peers.push(this);
    }
  };
  // Several browsers on two cores are short of CPU: they may drop frames, but the tests look at sizes.
  const setParameters = RTCRtpSender.prototype.setParameters;
  RTCRtpSender.prototype.setParameters = function (parameters) {
    return setParameters.call(this, {
      ...parameters,
      degradationPreference: 'maintain-resolution',
    } as RTCRtpSendParameters);
  };
  const Socket = window.WebSocket;
  window.WebSocket = class extends Socket {
    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, protocols);
      probe.sockets.push(this);
    }
  };
}

/** As a browser that has had its guided tour. */
export function skipTour(): void {
  localStorage.setItem('broletto.tour', 'seen');
}

/**
 * Runs in a publisher's page before its own scripts: camera and microphone are made in the page, so
 * that both show and sound one event at one moment. A real device of the browser's could not: its
 * picture and its tone begin when they like.
 */
export interface Act {
  /** Colour of the picture. */
  colour: string;
  /** In Hz. */
  tone: number;
  /** Flashes and beeps every so many ms; undefined: it is silent until `__stage.speak` is called. */
  every?: number;
}

export interface Stage {
  /** Begins to speak or stops, and says when, in ms since 1970. */
  speak(on: boolean): number;
}

export function installStage(act: Act): void {
  const FLASH_MS = 150;
  let begun: Promise<{ video: MediaStreamTrack; audio: MediaStreamTrack }> | undefined;

  async function begin() {
    const canvas = document.createElement('canvas');
    canvas.width = 640;
    canvas.height = 360;
    const brush = canvas.getContext('2d') as CanvasRenderingContext2D;
    const context = new AudioContext({ latencyHint: 'interactive' });
    await context.resume();
    const tone = new OscillatorNode(context, { frequency: act.tone });
    const volume = new GainNode(context, { gain: 0 });
    const output = context.createMediaStreamDestination();
    tone.connect(volume).connect(output);
    tone.start();
    // A little noise, as in any room: pure silence is sent differently.
    let flashUntil = 0;
    let frame = 0;
    const draw = () => {
      const flashes = performance.now() < flashUntil;
      brush.fillStyle = flashes ? '#fff' : act.colour;
      brush.fillRect(0, 0, canvas.width, canvas.height);
      brush.fillStyle = '#888';
      brush.fillRect((frame++ * 4) % canvas.width, 0, 8, 8);
    };
    setInterval(draw, 1_000 / 30);
    if (act.every !== undefined) {
      setInterval(() => {
        flashUntil = performance.now() + FLASH_MS;
        draw();
        const now = context.currentTime;
        volume.gain.setValueAtTime(0.5, now);
        volume.gain.setValueAtTime(0, now + FLASH_MS / 1_000);
      }, act.every);
    }
    const stage: Stage = {
      speak(on) {
        volume.gain.setValueAtTime(on ? 0.5 : 0, context.currentTime);
        return Date.now();
      },
    };
    (window as unknown as { __stage: Stage }).__stage = stage;
    const [video] = canvas.captureStream(30).getVideoTracks();
    const [audio] = output.stream.getAudioTracks();
    return { video: video as MediaStreamTrack, audio: audio as MediaStreamTrack };
  }

  navigator.mediaDevices.getUserMedia = async (constraints) => {
    begun ??= begin();
    const { video, audio } = await begun;
    // The page stops what it was given: each time it gets a copy.
    return new MediaStream([
      ...(constraints?.video ? [video.clone()] : []),
      ...(constraints?.audio ? [audio.clone()] : []),
    ]);
  };
}

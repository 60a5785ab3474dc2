/** A person at a real Chromium: joins through the page as a person does, and says what it sees and hears. */
import { type Browser, chromium, type Page } from '@playwright/test';
import { CHROMIUM, CHROMIUM_FLAGS } from './chromium';
import { cameraFile, type Persona, type Size, voiceFile } from './fixtures';
import { installProbe, skipTour } from './page-probe';
import { until } from './service';

export interface ParticipantOptions {
  camera?: Size;
  /** Search string of the page, such as `codec=vp8`. */
  query?: string;
  viewport?: Size;
  locale?: string;
  /** Chromium's own two cameras and three microphones, which beep, instead of the persona's. */
  plainDevices?: boolean;
}

export interface Picture {
  width: number;
  height: number;
  /** Dominant hue in degrees, and how bright the picture is, 0 to 255. */
  hue: number;
  brightness: number;
}

/** What the tests read of `inbound-rtp` (W3C webrtc-stats), with the name of its codec. */
export interface InboundVideo {
  codec: string;
  framesDecoded: number;
  freezeCount: number;
}

export interface OutboundVideo {
  rid?: string;
  codec: string;
  framesEncoded: number;
  frameHeight: number;
  scalabilityMode?: string;
}

export class Participant {
  private constructor(
    readonly persona: Persona,
    readonly browser: Browser,
    readonly page: Page,
  ) {}

  static async open(persona: Persona, options: ParticipantOptions = {}): Promise<Participant> {
    const browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: [
        ...CHROMIUM_FLAGS,
        ...(options.plainDevices
          ? ['--use-fake-device-for-media-stream=device-count=2,fps=20']
          : [
              `--use-file-for-fake-video-capture=${cameraFile(persona, options.camera ?? { width: 640, height: 360 })}`,
              `--use-file-for-fake-audio-capture=${voiceFile(persona)}`,
            ]),
        '--autoplay-policy=no-user-gesture-required',
        // Several browsers share one machine and only one window is in front.
        '--disable-backgrounding-occluded-windows',
        '--disable-renderer-backgrounding',
        '--disable-background-timer-throttling',
      ],
    });
    const context = await browser.newContext({
      locale: options.locale ?? 'en-GB',
      viewport: options.viewport ?? { width: 1280, height: 800 },
      permissions: ['camera', 'microphone'],
      ignoreHTTPSErrors: true,
    });
    await context.addInitScript(installProbe);
    await context.addInitScript(skipTour);
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    return new Participant(persona, browser, page);
  }

  /** Creates a room from the home page and joins it; gives the room's address. */
  async createRoom(origin: string, query = ''): Promise<string> {
    await this.page.goto(`${origin}/${query && `?${query}`}`);
    await this.page.getByTestId('create-room').click();
    await this.enter();
    return this.page.url().split('?')[0] as string;
  }

  async join(roomUrl: string, query = ''): Promise<void> {
    await this.page.goto(`${roomUrl}${query && `?${query}`}`);
    await this.enter();
  }

  /** From the device check into the meeting. */
  private async enter(): Promise<void> {
    await this.page.getByTestId('name').fill(this.persona.name);
    await this.page.getByTestId('enter').click();
    await this.page.getByTestId('meeting').waitFor();
  }

  /** The tile that shows another participant. */
  tile(name: string, source: 'camera' | 'screen' = 'camera') {
    return this.page
      .locator(`[data-testid="tile"][data-source="${source}"]`)
      .filter({ hasText: name });
  }

  /** Waits until the page has its WebSocket. */
  async online(timeout = 20_000): Promise<void> {
    await this.page
      .locator('[data-testid="meeting"][data-connection="joined"]')
      .waitFor({ state: 'attached', timeout });
  }

  async sees(other: Persona, source: 'camera' | 'screen' = 'camera'): Promise<Picture | undefined> {
    const video = this.tile(other.name, source).locator('video');
    if ((await video.count()) === 0) return undefined;
    return video.first().evaluate((element) => {
      const video = element as HTMLVideoElement;
      if (video.videoWidth === 0) return undefined;
      const canvas = document.createElement('canvas');
      canvas.width = 32;
      canvas.height = 18;
      const context = canvas.getContext('2d', { willReadFrequently: true });
      if (!context) return undefined;
      context.drawImage(video, 0, 0, canvas.width, canvas.height);
      const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
      // The median pixel: the moving pattern covers less than half of the picture.
      const channel = (offset: number) =>
        Array.from({ length: data.length / 4 }, (_, i) => data[i * 4 + offset] as number).sort(
          (a, b) => a - b,
        )[data.length / 8] as number;
      const [red, green, blue] = [channel(0), channel(1), channel(2)];
      const high = Math.max(red, green, blue);
      const span = high - Math.min(red, green, blue) || 1;
      const sixth =
        high === red
          ? (green - blue) / span
          : high === green
            ? 2 + (blue - red) / span
            : 4 + (red - green) / span;
      return {
        width: video.videoWidth,
        height: video.videoHeight,
        hue: (sixth * 60 + 360) % 360,
        brightness: high,
      };
    });
  }

  /** How loud each persona's tone is in all that this page plays, at its loudest within 2 s, in dBFS. */
  async hears(others: readonly Persona[]): Promise<number[]> {
    return this.page.evaluate(
      async (tones) => {
        const context = new AudioContext();
        await context.resume();
        const analysers = [...document.querySelectorAll('audio')]
          .filter((audio) => audio.srcObject instanceof MediaStream && !audio.muted)
          .map((audio) => {
            const analyser = context.createAnalyser();
            analyser.fftSize = 4096;
            analyser.smoothingTimeConstant = 0;
            context.createMediaStreamSource(audio.srcObject as MediaStream).connect(analyser);
            return analyser;
          });
        const loudest = tones.map(() => -200);
        const spectrum = new Float32Array(2048);
        for (let round = 0; round < 40; round++) {
          await new Promise((resolve) => setTimeout(resolve, 50));
          for (const analyser of analysers) {
            analyser.getFloatFrequencyData(spectrum);
            tones.forEach((tone, i) => {
              const bin = Math.round((tone / context.sampleRate) * 4096);
              loudest[i] = Math.max(loudest[i] as number, ...spectrum.slice(bin - 1, bin + 2));
            });
          }
        }
        await context.close();
        return loudest;
      },
      others.map((other) => other.tone),
    );
  }

  async inboundVideo(): Promise<InboundVideo[]> {
    const reports = await this.videoStats('inbound-rtp');
    return reports.filter(({ framesDecoded }) => framesDecoded) as unknown as InboundVideo[];
  }

  /** Codecs and layers that this page sends. */
  async outboundVideo(): Promise<OutboundVideo[]> {
    const reports = await this.videoStats('outbound-rtp');
    return reports.filter(({ framesEncoded }) => framesEncoded) as unknown as OutboundVideo[];
  }

  /** Reports of video streams on connected peer connections, each with the name of its codec. */
  private async videoStats(type: string): Promise<Record<string, unknown>[]> {
    return this.page.evaluate(async (type) => {
      const { peers } = (window as unknown as { __probe: { peers: RTCPeerConnection[] } }).__probe;
      const found = [];
      for (const peer of peers.filter((peer) => peer.connectionState === 'connected')) {
        const stats = await peer.getStats();
        for (const report of stats.values()) {
          if (report.type !== type || report.kind !== 'video') continue;
          found.push({ ...report, codec: stats.get(report.codecId)?.mimeType ?? '' });
        }
      }
      return found;
    }, type);
  }

  /** Notes when each frame of a tile is presented, from now on. */
  async watchFrames(other: Persona): Promise<void> {
    await this.tile(other.name)
      .locator('video')
      .first()
      .evaluate((element) => {
        const video = element as HTMLVideoElement;
        const { frames } = (
          window as unknown as { __probe: { frames: Map<HTMLVideoElement, number[]> } }
        ).__probe;
        const times: number[] = [];
        frames.set(video, times);
        const note = (now: number) => {
          times.push(now);
          video.requestVideoFrameCallback(note);
        };
        video.requestVideoFrameCallback(note);
      });
  }

  /** Longest time between two frames presented since `watchFrames`, in ms, and how many there were. */
  async longestGap(other: Persona): Promise<{ gapMs: number; frames: number }> {
    return this.tile(other.name)
      .locator('video')
      .first()
      .evaluate((element) => {
        const { frames } = (
          window as unknown as { __probe: { frames: Map<HTMLVideoElement, number[]> } }
        ).__probe;
        const times = [...(frames.get(element as HTMLVideoElement) ?? []), performance.now()];
        let gapMs = 0;
        for (let i = 1; i < times.length; i++)
          gapMs = Math.max(gapMs, (times[i] as number) - (times[i - 1] as number));
        return { gapMs, frames: times.length - 1 };
      });
  }

  /** Breaks the WebSocket under the page, as a network would. */
  async dropWebSocket(): Promise<void> {
    await this.page.evaluate(() => {
      const { sockets } = (window as unknown as { __probe: { sockets: WebSocket[] } }).__probe;
      for (const socket of sockets) socket.close(4000);
    });
  }

  async socketCount(): Promise<number> {
    return this.page.evaluate(
      () => (window as unknown as { __probe: { sockets: WebSocket[] } }).__probe.sockets.length,
    );
  }

  async peerCount(): Promise<number> {
    return this.page.evaluate(
      () => (window as unknown as { __probe: { peers: RTCPeerConnection[] } }).__probe.peers.length,
    );
  }

  /** Waits until the other's camera is seen in the right colour, and that it moves. */
  async waitToSee(other: Persona, describe: () => string = () => ''): Promise<Picture> {
    let last: Picture | undefined;
    const picture = await until(
      `${this.persona.name} sees ${other.name}`,
      async () => {
        last = await this.sees(other);
        return last && last.brightness > 100 && hueDistance(last.hue, other.hue) < 30
          ? last
          : undefined;
      },
      30_000,
      () => `last picture: ${JSON.stringify(last)} ${describe()}`,
    );
    const before = total(await this.inboundVideo());
    await until(
      'frames keep rising',
      async () => total(await this.inboundVideo()) > before + 10,
      10_000,
    );
    return picture;
  }

  async close(): Promise<void> {
    await this.browser.close();
  }
}

export function hueDistance(a: number, b: number): number {
  const apart = Math.abs(a - b) % 360;
  return Math.min(apart, 360 - apart);
}

function total(videos: InboundVideo[]): number {
  return videos.reduce((sum, video) => sum + video.framesDecoded, 0);
}

/**
 * A room that a test makes up: it plays the server's part on the page's WebSocket, and in the page a peer
 * connection whose slots show pictures drawn there. What the page asks to see is shown at once.
 */
import type {
  ClientFrame,
  Joined,
  Participant,
  ParticipantId,
  ServerEvent,
  ViewSlot,
} from '../../../src/protocol/messages';
import type { Page } from './pages';

export const CODE = '204117935';
export const YOU = '1.0';

export function person(
  id: ParticipantId,
  name: string,
  more: Partial<Participant> = {},
): Participant {
  return {
    id,
    name,
    kind: 'browser',
    role: 'guest',
    publishing: { microphone: true, camera: true },
    connected: true,
    ...more,
  };
}

const NAMES = ['Ada Bianchi', 'Bruno Costa', 'Carla De Luca', 'Dario Esposito', 'Elena Ferrari'];
const MORE = ['Fabio Greco', 'Giulia Longo', 'Hassan Marino', 'Irene Neri', 'Luca Orsini'];

/** Everybody has a camera but each seventh, and a microphone but each third. */
export function people(count: number): Participant[] {
  const names = [...NAMES, ...MORE];
  return Array.from({ length: count }, (_, index) => {
    const round = Math.floor(index / names.length);
    const name = `${names[index % names.length]}${round > 0 ? ` ${round + 1}` : ''}`;
    const publishing = { microphone: index % 3 !== 2, camera: index % 7 !== 5 };
    return person(`1.${index + 1}`, name, { publishing });
  });
}

export interface FakeRoomOptions {
  others: Participant[];
  /** One's own role. */
  role?: Participant['role'];
  spotlight?: ParticipantId[];
  videoSlotsMax?: number;
}

export class FakeRoom {
  /** What each slot of the page was last asked to show. */
  readonly asked = new Map<string, ViewSlot>();
  /** Everything that the page sent, in order. */
  readonly received: ClientFrame[] = [];
  #send: (event: ServerEvent) => void = () => {};
  #joined: Joined;

  private constructor(options: FakeRoomOptions) {
    this.#joined = joinedOf(options);
  }

  static async open(page: Page, options: FakeRoomOptions): Promise<FakeRoom> {
    const room = new FakeRoom(options);
    await page.addInitScript(fakePeerConnection);
    await page.routeWebSocket('**/api/v1/session', (socket) => {
      room.#send = (event) => socket.send(JSON.stringify(event));
      socket.onMessage((text) => {
        const message = JSON.parse(String(text)) as ClientFrame;
        for (const reply of room.#answer(message)) socket.send(JSON.stringify(reply));
      });
    });
    await page.goto(`/r/${CODE}`);
    await page.getByTestId('name').fill('Bo Rossi');
    await page.getByTestId('enter').click();
    await page.getByTestId('meeting').waitFor();
    return room;
  }

  tell(event: ServerEvent): void {
    this.#send(event);
  }

  /** These speak now, the loudest first. */
  speak(...ids: ParticipantId[]): void {
    const speakers = ids.map((participant, index) => ({ participant, level: 20 + index }));
    this.tell({ type: 'speakers', speakers });
  }

  spotlight(...ids: ParticipantId[]): void {
    const room = { ...this.#joined.room, spotlight: ids };
    this.#joined = { ...this.#joined, room };
    this.tell({ type: 'room_changed', room });
  }

  /** The streams that the page asks for now, as `camera 1.4`, in order. */
  streams(): string[] {
    return [...this.asked.values()]
      .flatMap(({ show }) =>
        show.type === 'participant' ? [`${show.source} ${show.participant}`] : [],
      )
      .sort();
  }

  slotOf(participant: ParticipantId): ViewSlot | undefined {
    return [...this.asked.values()].find(
      ({ show }) => show.type === 'participant' && show.participant === participant,
    );
  }

  #answer(message: ClientFrame): object[] {
    this.received.push(message);
    const reply = (fields: object) => ({ reply_to: message.id, ...fields });
    switch (message.type) {
      case 'join': {
        const participants = this.#joined.participants.map((one) =>
          one.id === YOU ? { ...one, name: message.name ?? '' } : one,
        );
        this.#joined = { ...this.#joined, participants };
        return [reply(this.#joined)];
      }
      case 'offer':
        if (message.fresh) this.asked.clear();
        return [reply({ type: 'answer', sdp: '' })];
      case 'view': {
        for (const slot of message.slots) this.asked.set(slot.mid, slot);
        const slots = message.slots.map(({ mid, show }) => ({
          mid,
          shows:
            show.type === 'participant'
              ? { participant: show.participant, source: show.source }
              : null,
        }));
        return [{ type: 'slots', slots }, reply({ type: 'ok' })];
      }
      case 'spotlight': {
        const room = { ...this.#joined.room, spotlight: message.participants };
        this.#joined = { ...this.#joined, room };
        return [reply({ type: 'ok' }), { type: 'room_changed', room }];
      }
      default:
        return [reply({ type: message.type === 'ping' ? 'pong' : 'ok' })];
    }
  }
}

function joinedOf({ others, role, spotlight, videoSlotsMax }: FakeRoomOptions): Joined {
  return {
    type: 'joined',
    version: 1,
    you: YOU,
    resume: 'secret',
    resume_s: 30,
    room: {
      id: 'mfrggzdfmztwq2lknnwg23tpoe',
      code: CODE,
      title: 'Giunta comunale',
      video_codec: 'vp8',
      lobby: 'off',
      locked: false,
      allowed: { microphone: true, camera: true, screen: true, chat: true },
      spotlight: spotlight ?? [],
      url: 'https://meet.example.org/r/mfrggzdfmztwq2lknnwg23tpoe',
    },
    participants: [...others, person(YOU, '', { role: role ?? 'guest' })],
    slots: [],
    limits: { audio_slots_max: 4, video_slots_max: videoSlotsMax ?? 32, message_bytes_max: 65536 },
    ice_servers: [],
    media: false,
  };
}

/** Runs in the page: a peer connection without a network, each of whose slots has a picture of its own. */
function fakePeerConnection(): void {
  let mids = 0;
  /** A head and shoulders in front of a wall; every third is that of an upright phone. */
  function picture(index: number): MediaStreamTrack {
    const canvas = document.createElement('canvas');
    const upright = index % 3 === 2;
    canvas.width = upright ? 180 : 320;
    canvas.height = upright ? 320 : 180;
    const context = canvas.getContext('2d') as CanvasRenderingContext2D;
    const hue = (index * 47) % 360;
    let tick = 0;
    const draw = () => {
      const { width, height } = canvas;
      const back = context.createLinearGradient(0, 0, width, height);
      back.addColorStop(0, `hsl(${hue} 30% 72%)`);
      back.addColorStop(1, `hsl(${hue} 34% 42%)`);
      context.fillStyle = back;
      context.fillRect(0, 0, width, height);
      const x = width / 2 + Math.sin(tick / 9) * 3;
      const size = Math.min(width, height);
      context.fillStyle = `hsl(${(hue + 150) % 360} 40% 30%)`;
      context.beginPath();
      context.ellipse(x, height, size * 0.42, size * 0.36, 0, 0, 7);
      context.fill();
      context.fillStyle = '#e2b394';
      context.beginPath();
      context.ellipse(x, height - size * 0.52, size * 0.17, size * 0.21, 0, 0, 7);
      context.fill();
      context.fillStyle = `hsl(${(hue * 3) % 40} 35% 20%)`;
      context.beginPath();
      context.ellipse(x, height - size * 0.64, size * 0.18, size * 0.13, 0, 3.1, 6.4);
      context.fill();
      tick += 1;
    };
    draw();
    setInterval(draw, 200);
    return canvas.captureStream(5).getVideoTracks()[0] as MediaStreamTrack;
  }

  class FakePeerConnection extends EventTarget {
    iceConnectionState = 'new';
    connectionState = 'new';
    localDescription: { sdp: string } | null = null;
    oniceconnectionstatechange: (() => void) | null = null;
    onconnectionstatechange: (() => void) | null = null;
    readonly #transceivers: { mid: string | null }[] = [];

    addTransceiver(kind: string, { direction }: { direction: string }) {
      const receives = direction === 'recvonly' && kind === 'video';
      const context = receives ? undefined : new AudioContext();
      const track = receives
        ? picture(this.#transceivers.length)
        : (context?.createMediaStreamDestination().stream.getAudioTracks()[0] as MediaStreamTrack);
      const transceiver = {
        mid: null,
        receiver: { track },
        setCodecPreferences: () => {},
        sender: {
          replaceTrack: async () => {},
          setParameters: async () => {},
          getParameters: () => ({ codecs: [], encodings: [] }),
        },
      };
      this.#transceivers.push(transceiver);
      return transceiver;
    }

    async createOffer() {
      return { type: 'offer', sdp: 'v=0' };
    }

    async setLocalDescription() {
      this.localDescription = { sdp: 'v=0' };
      for (const transceiver of this.#transceivers) transceiver.mid ??= String(mids++);
    }

    async setRemoteDescription() {
      this.iceConnectionState = 'connected';
      this.oniceconnectionstatechange?.();
    }

    restartIce() {}

    close() {}
  }
  window.RTCPeerConnection = FakePeerConnection as unknown as typeof RTCPeerConnection;
}

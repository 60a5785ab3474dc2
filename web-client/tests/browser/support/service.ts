/** Starts the real program, in one process or two, and the link emulator in front of it. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const binaries = process.env.BROLETTO_BIN_DIR ?? '../target/release';

/** Ports of one service. Media and operations of a second process have the numbers after theirs. */
function takePorts() {
  const first = nextPort;
  nextPort += 60;
  return {
    http: first,
    https: first + 10,
    ops: first + 20,
    udp: first + 30,
    relay: first + 40,
    control: first + 50,
  };
}
let nextPort = 21_000;

export interface Process {
  child: ChildProcess;
  log: string[];
  stop(signal?: NodeJS.Signals): Promise<void>;
}

export function start(
  program: string,
  args: string[],
  options: { env?: Record<string, string> } = {},
): Process {
  const child = spawn(join(binaries, program), args, {
    env: { ...ownEnvironment(), RUST_BACKTRACE: '1', ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const log: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => log.push(line));
  }
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  return {
    child,
    log,
    async stop(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      await exited;
    },
  };
}

/** Without what configures the tests: to the program, `BROLETTO_…` is configuration of its own. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const entries = Object.entries(process.env).filter(([key]) => !key.startsWith('BROLETTO_'));
  return Object.fromEntries(entries);
}

export async function until<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  timeoutMs = 20_000,
  describe: () => string = () => '',
): Promise<T> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const value = await probe();
    if (value) return value as T;
    if (Date.now() > end) throw new Error(`${what}: not within ${timeoutMs} ms. ${describe()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export interface ServiceOptions {
  /** Put a link emulator between the browsers and the media sockets. */
  relay?: boolean;
  /** Run media and signaling as two processes. */
  split?: boolean;
  /** What to log, as `log.filter`. */
  log?: string;
  /** More lines of configuration for the signaling half, whole sections. */
  signaling?: string[];
}

export class Service {
  readonly url: string;
  /** The same with the self-signed certificate, as other devices open it. */
  readonly encryptedUrl: string;
  private constructor(
    readonly folder: string,
    ports: { http: number; https: number },
    readonly processes: { all?: Process; sfu?: Process; signaling?: Process; relay?: Process },
    private readonly configs: { signaling: string },
  ) {
    this.url = `http://localhost:${ports.http}`;
    this.encryptedUrl = `https://127.0.0.1:${ports.https}`;
  }

  static async start(options: ServiceOptions = {}): Promise<Service> {
    const folder = mkdtempSync(join(tmpdir(), 'broletto-test-'));
    const { http, https, ops, udp, relay, control } = takePorts();
    const announced = options.relay ? `127.0.0.1:${relay}` : '127.0.0.1';
    const common = [
      `data_dir = "${folder}/data"`,
      '[http]',
      `listen = ["127.0.0.1:${http}", "[::1]:${http}"]`,
      '[https]',
      `listen = ["127.0.0.1:${https}"]`,
      '[ops]',
      `listen = ["127.0.0.1:${ops}"]`,
      '[log]',
      `filter = "${options.log ?? 'info'}"`,
      ...(options.signaling ?? []),
    ];
    const media = [
      '[media]',
      // The emulator stands before one worker's port.
      `workers = ${options.relay ? 1 : 2}`,
      'bind = ["127.0.0.1"]',
      `udp_port_base = ${udp}`,
      `announce = ["${announced}"]`,
    ];
    const processes: Service['processes'] = {};
    const signalingConfig = join(folder, 'signaling.toml');
    if (options.split) {
      const certs = join(folder, 'certs');
      for (const name of ['node', 'signaling']) {
        execFileSync(join(binaries, 'broletto'), ['certs', '--dir', certs, '--name', name], {
          stdio: 'ignore',
        });
      }
      const sfuConfig = join(folder, 'sfu.toml');
      const sfu = [
        `data_dir = "${folder}/data-sfu"`,
        '[ops]',
        `listen = ["127.0.0.1:${ops + 1}"]`,
        ...media,
        '[media.control]',
        `listen = "127.0.0.1:${control}"`,
        `certificate = "${certs}/node-certificate.pem"`,
        `private_key = "${certs}/node-key.pem"`,
        `client_ca = "${certs}/ca.pem"`,
      ];
      writeFileSync(sfuConfig, sfu.join('\n'));
      const signaling = [
        ...common,
        '[signaling]',
        `node = "wss://127.0.0.1:${control}"`,
        `ca = "${certs}/ca.pem"`,
        `certificate = "${certs}/signaling-certificate.pem"`,
        `key = "${certs}/signaling-key.pem"`,
      ];
      writeFileSync(signalingConfig, signaling.join('\n'));
      processes.sfu = start('broletto', ['--config', sfuConfig, 'sfu']);
    } else {
      writeFileSync(signalingConfig, [...common, ...media].join('\n'));
      processes.all = start('broletto', ['--config', signalingConfig]);
    }
    if (options.relay) {
      processes.relay = start('broletto-loadtest', [
        ...['relay', '--listen', `127.0.0.1:${relay}`, '--to', `127.0.0.1:${udp}`],
      ]);
    }
    const service = new Service(folder, { http, https }, processes, { signaling: signalingConfig });
    if (options.split) service.startSignaling();
    await service.ready();
    return service;
  }

  startSignaling(): void {
    this.processes.signaling = start('broletto', ['--config', this.configs.signaling, 'signaling']);
  }

  async ready(): Promise<void> {
    await until(
      'the service answers',
      () =>
        fetch(this.url)
          .then((response) => response.ok)
          .catch(() => false),
      30_000,
      () => this.logs(),
    );
  }

  /** Changes the emulated link, such as `down rate 300000`. */
  async link(command: string): Promise<void> {
    const relay = this.processes.relay;
    if (!relay?.child.stdin) throw new Error('this service has no relay');
    const seen = relay.log.length;
    relay.child.stdin.write(`${command}\n`);
    const answer = await until('the relay answers', () => relay.log[seen], 2_000);
    if (!answer.startsWith('ok')) throw new Error(`${command}: ${answer}`);
  }

  logs(): string {
    return Object.entries(this.processes)
      .map(([name, process]) => `--- ${name}\n${process?.log.slice(-60).join('\n')}`)
      .join('\n');
  }

  async stop(): Promise<void> {
    await Promise.all(Object.values(this.processes).map((process) => process?.stop()));
    rmSync(this.folder, { recursive: true, force: true });
  }
}

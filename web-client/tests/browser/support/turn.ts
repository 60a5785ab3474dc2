/** A TURN server on loopback: Debian's coturn. Firefox pairs with the server through it only. */
import { type ChildProcess, spawn } from 'node:child_process';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { until } from './service';

const PROGRAM = process.env.TURNSERVER ?? '/usr/bin/turnserver';

export class Turn {
  private constructor(
    readonly url: string,
    readonly secret: string,
    private readonly child: ChildProcess,
    readonly log: string[],
  ) {}

  static async start(port: number): Promise<Turn> {
    const secret = 'a secret of the tests, twenty bytes and more';
    const child = spawn(
      PROGRAM,
      [
        '-n',
        `--listening-port=${port}`,
        '--listening-ip=127.0.0.1',
        '--relay-ip=127.0.0.1',
        '--use-auth-secret',
        `--static-auth-secret=${secret}`,
        '--realm=test',
        '--allow-loopback-peers',
        ...['--no-tls', '--no-dtls', '--no-cli', '--log-file=stdout', '--pidfile='],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    const log: string[] = [];
    for (const stream of [child.stdout, child.stderr]) {
      if (stream) createInterface({ input: stream }).on('line', (line) => log.push(line));
    }
    const turn = new Turn(`turn:127.0.0.1:${port}?transport=udp`, secret, child, log);
    // It listens on TCP at the same port, which is easier to ask.
    await until(
      'coturn listens',
      () => listens(port),
      10_000,
      () => log.slice(-5).join('\n'),
    );
    return turn;
  }

  /** For `[ice]` of the program. */
  get config(): string[] {
    return ['[ice]', `turn_urls = ["${this.url}"]`, `turn_secret = "${this.secret}"`];
  }

  async stop(): Promise<void> {
    const exited = new Promise<void>((resolve) => this.child.once('exit', () => resolve()));
    if (this.child.exitCode !== null) return;
    this.child.kill('SIGKILL');
    await exited;
  }
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

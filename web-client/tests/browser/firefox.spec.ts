// Debian's Firefox meets Chromium. Firefox has no H.264 here, so that the room speaks VP8, and it pairs
// with a server on loopback only through TURN, so that the way by a relay is tried as well.

import { readFileSync } from 'node:fs';
import { expect, test } from '@playwright/test';
import puppeteer, { type Browser, type Page } from 'puppeteer-core';
import { bruno } from './support/fixtures';
import { installProbe, skipTour } from './support/page-probe';
import { Participant } from './support/participant';
import { Service, until } from './support/service';
import { Turn } from './support/turn';

const FIREFOX = process.env.FIREFOX ?? '/usr/bin/firefox-esr';
const TURN_PORT = 23_478;
const NAME = 'Fiamma Volpe';

/** Two browsers, a relay and the server share the machine: best of three. */
test.describe.configure({ retries: 2 });

/** Linux lists the default route as destination 0. */
function hasDefaultRoute(): boolean {
  const routes = readFileSync('/proc/net/route', 'utf8').trim().split('\n').slice(1);
  return routes.some((route) => route.split('\t')[1] === '00000000');
}

async function openFirefox(): Promise<Browser> {
  return puppeteer.launch({
    browser: 'firefox',
    executablePath: FIREFOX,
    headless: true,
    extraPrefsFirefox: {
      'media.navigator.streams.fake': true,
      'media.navigator.permission.disabled': true,
      'media.peerconnection.ice.loopback': true,
      'media.peerconnection.ice.obfuscate_host_addresses': false,
      'media.autoplay.default': 0,
      'media.autoplay.blocking_policy': 0,
      'network.proxy.type': 0,
      'intl.accept_languages': 'en-GB, en',
    },
  });
}

async function enter(page: Page): Promise<void> {
  const name = '[data-testid="name"]';
  await page.waitForSelector(name);
  await page.type(name, NAME);
  await page.click('[data-testid="enter"]');
  await page.waitForSelector('[data-testid="meeting"]');
}

interface Look {
  width: number;
  brightness: number;
  /** A few numbers that differ when the picture does. */
  print: string;
}

/** What a tile of somebody else shows now. Runs in either browser. */
function look(name: string): Look | undefined {
  const tile = [...document.querySelectorAll('[data-testid="tile"]')].find((one) =>
    one.textContent?.includes(name),
  );
  const video = tile?.querySelector('video');
  if (!video || video.videoWidth === 0) return undefined;
  const canvas = document.createElement('canvas');
  canvas.width = 16;
  canvas.height = 9;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) return undefined;
  context.drawImage(video, 0, 0, canvas.width, canvas.height);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const colours = [...data].filter((_, index) => index % 4 !== 3);
  return {
    width: video.videoWidth,
    brightness: Math.max(...colours),
    print: colours.map((colour) => (colour >> 4).toString(16)).join(''),
  };
}

/** Packets of sound and decoded pictures that came, over all connections of the page. */
async function arrived(): Promise<{ sound: number; pictures: number; codecs: string[] }> {
  const { peers } = (window as unknown as { __probe: { peers: RTCPeerConnection[] } }).__probe;
  const total = { sound: 0, pictures: 0, codecs: [] as string[] };
  for (const peer of peers) {
    if (peer.connectionState === 'closed') continue;
    const stats = await peer.getStats();
    for (const report of stats.values()) {
      if (report.type !== 'inbound-rtp') continue;
      if (report.kind === 'audio') total.sound += report.packetsReceived ?? 0;
      else if (report.framesDecoded > 0) {
        total.pictures += report.framesDecoded;
        total.codecs.push(stats.get(report.codecId)?.mimeType ?? '');
      }
    }
  }
  return total;
}

/** The type of the local candidate in use. */
async function way(): Promise<string[]> {
  const { peers } = (window as unknown as { __probe: { peers: RTCPeerConnection[] } }).__probe;
  const ways: string[] = [];
  for (const peer of peers) {
    const stats = await peer.getStats();
    for (const report of stats.values()) {
      if (report.type !== 'candidate-pair' || !report.nominated) continue;
      if (report.state !== 'succeeded') continue;
      ways.push(stats.get(report.localCandidateId)?.candidateType ?? '');
    }
  }
  return ways;
}

test('Firefox and Chromium see and hear each other in VP8 through TURN', async () => {
  expect(hasDefaultRoute(), 'Firefox gathers no candidates without a default route').toBe(true);
  const turn = await Turn.start(TURN_PORT);
  const service = await Service.start({ signaling: turn.config });
  const describe = () => `${service.logs()}\n--- coturn\n${turn.log.slice(-15).join('\n')}`;
  const chromium = await Participant.open(bruno);
  const firefox = await openFirefox();
  try {
    const room = await chromium.createRoom(service.url);
    const page = await firefox.newPage();
    await page.evaluateOnNewDocument(installProbe);
    await page.evaluateOnNewDocument(skipTour);
    await page.goto(`${room}?ice=relay`);
    await enter(page);

    await test.step('Chromium sees the moving picture of Firefox', async () => {
      const seen = new Set<string>();
      let last: Look | undefined;
      await until(
        'three different pictures',
        async () => {
          last = await chromium.page.evaluate(look, NAME);
          if (last && last.brightness > 60) seen.add(last.print);
          return seen.size >= 3;
        },
        40_000,
        () => `last: ${JSON.stringify(last)} ${describe()}`,
      );
    });

    await test.step('Firefox sees the moving picture of Chromium, in its colour', async () => {
      const seen = new Set<string>();
      let last: Look | undefined;
      await until(
        'three different pictures',
        async () => {
          last = await page.evaluate(look, bruno.name);
          // Bruno is green: most of what is seen has its middle channel in front.
          const rgb = [...(last?.print ?? '')].map((digit) => Number.parseInt(digit, 16));
          const green = rgb.filter((_, i) => i % 3 === 1 && (rgb[i] ?? 0) > (rgb[i - 1] ?? 0) + 2);
          if (last && green.length > rgb.length / 3 / 2) seen.add(last.print);
          return seen.size >= 3;
        },
        40_000,
        () => `last: ${JSON.stringify(last)} ${describe()}`,
      );
    });

    await test.step('everything goes on flowing, in VP8, and by the relay', async () => {
      const sides = { chromium: chromium.page, firefox: page };
      for (const [name, side] of Object.entries(sides)) {
        const now = () => (side as Page).evaluate(arrived);
        const before = await now();
        await until(
          `sound and pictures flow to ${name}`,
          async () => {
            const { sound, pictures } = await now();
            return sound > before.sound + 50 && pictures > before.pictures + 20;
          },
          15_000,
          describe,
        );
        const { codecs } = await now();
        expect(codecs.length, name).toBeGreaterThan(0);
        expect(new Set(codecs), name).toEqual(new Set(['video/VP8']));
      }
      expect(new Set(await page.evaluate(way))).toEqual(new Set(['relay']));
    });

    await test.step('Firefox leaves', async () => {
      await page.click('[data-testid="leave"]');
      await page.waitForSelector('[data-testid="end-page"]');
      await chromium.tile(NAME).waitFor({ state: 'detached' });
    });
  } catch (error) {
    await chromium.page.screenshot({ path: 'test-results/failed-chromium.png' }).catch(() => {});
    console.error(describe());
    throw error;
  } finally {
    await Promise.all([chromium.close(), firefox.close()].map((done) => done.catch(() => {})));
    await service.stop();
    await turn.stop();
  }
});

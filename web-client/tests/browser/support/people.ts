/** People at one browser, each in a tab of its own that shares nothing with the others. */
import type { Browser, BrowserContext, Page } from '@playwright/test';
import { expect } from '@playwright/test';
import type { Lobby } from '../../../src/protocol/messages';
import { installProbe, skipTour } from './page-probe';

/** Their pictures are not looked at: the smaller, the less they take from the others. */
const QUERY = 'camera=160x90';

export class People {
  private readonly contexts: BrowserContext[] = [];

  constructor(
    private readonly browser: Browser,
    private readonly origin: string,
  ) {}

  async open(): Promise<Page> {
    const context = await this.browser.newContext({
      baseURL: this.origin,
      locale: 'en-GB',
      permissions: ['camera', 'microphone'],
      viewport: { width: 1024, height: 640 },
    });
    this.contexts.push(context);
    await context.addInitScript(installProbe);
    await context.addInitScript(skipTour);
    await context.addInitScript(recordAnnouncements);
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    return page;
  }

  /** Makes a room and joins it as its moderator; its link goes to the others. */
  async chair(name: string, lobby: Lobby): Promise<{ page: Page; link: string }> {
    const page = await this.open();
    await page.goto(`/?${QUERY}`);
    await page.getByTestId('room-lobby').selectOption(lobby);
    await page.getByTestId('create-room').click();
    await knock(page, name);
    await expect(page.getByTestId('meeting')).toBeVisible();
    return { page, link: page.url().split('?')[0] as string };
  }

  async join(link: string, name: string): Promise<Page> {
    const page = await this.knock(link, name);
    await expect(page.getByTestId('meeting')).toBeVisible();
    return page;
  }

  /** Asks to come in, and waits for no answer. */
  async knock(link: string, name: string, prepare?: (page: Page) => void): Promise<Page> {
    const page = await this.open();
    prepare?.(page);
    await page.goto(`${link}?${QUERY}`);
    await knock(page, name);
    return page;
  }

  async close(): Promise<void> {
    await Promise.all(this.contexts.map((context) => context.close()));
  }
}

async function knock(page: Page, name: string): Promise<void> {
  await page.getByTestId('name').fill(name);
  await page.getByTestId('enter').click();
}

/** Breaks the WebSocket under a page, as a network would. */
export async function dropWebSocket(page: Page): Promise<void> {
  await page.evaluate(() => {
    const { sockets } = (window as unknown as { __probe: { sockets: WebSocket[] } }).__probe;
    for (const socket of sockets) socket.close(4000);
  });
}

/** All that assistive technology was told so far, without the isolates around names. */
export async function announced(page: Page): Promise<string> {
  const all = await page.evaluate(
    () => (window as unknown as { __announced: string[] }).__announced,
  );
  return all.join('\n').replace(/[\u2068\u2069]/g, '');
}

/** Runs in the page: announcements are taken away again after some seconds. */
function recordAnnouncements(): void {
  const texts: string[] = [];
  Object.assign(window, { __announced: texts });
  new MutationObserver((changes) => {
    for (const node of changes.flatMap(({ addedNodes }) => [...addedNodes])) {
      if (node.parentElement?.dataset.testid === 'announcements' && node.textContent?.trim()) {
        texts.push(node.textContent);
      }
    }
  }).observe(document, { childList: true, subtree: true });
}

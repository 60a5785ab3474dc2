/** Tests of pages: one browser, one real program that serves them, with its real headers. */
import { test as base } from '@playwright/test';
import { skipTour } from './page-probe';
import { Service } from './service';

export const test = base.extend<{ tour: boolean }, { service: Service }>({
  service: [
    // biome-ignore lint/correctness/noEmptyPattern: Playwright reads the names of the fixtures used.
    async ({}, use) => {
      const service = await Service.start();
      await use(service);
      await service.stop();
    },
    { scope: 'worker' },
  ],
  baseURL: ({ service }, use) => use(service.url),
  /** The guided tour of the first meeting stands in the way of all tests but its own. */
  tour: [false, { option: true }],
  context: async ({ context, tour }, use) => {
    if (!tour) await context.addInitScript(skipTour);
    await use(context);
  },
});

export { expect, type Page } from '@playwright/test';

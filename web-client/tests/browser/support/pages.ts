/** Tests of pages: one browser, one real program that serves them, with its real headers. */
import { test as base } from '@playwright/test';
import { Service } from './service';

export const test = base.extend<object, { service: Service }>({
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
});

export { expect, type Page } from '@playwright/test';

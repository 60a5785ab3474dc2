import { defineConfig } from '@playwright/test';
import { CHROMIUM, CHROMIUM_FLAGS } from './tests/browser/support/chromium';

const LONG = process.env.BROLETTO_TEST_LONG !== undefined;

/** Real Chromium against the real program. One test at a time: each brings several browsers. */
export default defineConfig({
  testDir: 'tests/browser',
  forbidOnly: true,
  workers: 1,
  timeout: LONG ? 600_000 : 180_000,
  // Browsers, server and whatever else runs share the machine's cores; what needed a repeat is listed.
  retries: 2,
  reporter: 'list',
  outputDir: 'test-results',
  use: { launchOptions: { executablePath: CHROMIUM, args: CHROMIUM_FLAGS } },
});

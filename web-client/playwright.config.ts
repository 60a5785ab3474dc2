import { defineConfig } from '@playwright/test';

const LONG = process.env.BROLETTO_TEST_LONG !== undefined;
/** The program that serves the pages; without it, the built pages alone (`npm run build`). */
const SERVER = process.env.BROLETTO_URL;
const PREVIEW = 'http://localhost:4173';

/** Real Chromium against the real program. One test at a time: each brings several browsers. */
export default defineConfig({
  testDir: 'tests/browser',
  forbidOnly: true,
  workers: 1,
  timeout: LONG ? 600_000 : 180_000,
  reporter: 'list',
  outputDir: 'test-results',
  use: {
    baseURL: SERVER ?? PREVIEW,
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--use-fake-device-for-media-stream=fps=30',
        '--use-fake-ui-for-media-stream',
        '--no-proxy-server',
      ],
    },
  },
  ...(SERVER === undefined && {
    webServer: { command: 'npx vite preview --port 4173 --strictPort', url: PREVIEW },
  }),
});

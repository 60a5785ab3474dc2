import { svelte } from '@sveltejs/vite-plugin-svelte';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

/** Where `vite` finds the server while one works on the pages. */
const SERVER = 'http://localhost:8080';

/** The package's loader is a classic script; the worker that uses it is a module. */
const segmentationLoader: Plugin = {
  name: 'segmentation-loader',
  transform(code, id) {
    if (!id.includes('selfie_segmentation_solution_simd_wasm_bin.js')) return undefined;
    const end = code.indexOf("if (typeof exports === 'object'");
    if (end < 0) throw new Error('the loader of the segmentation does not end as expected');
    const loader = `${code.slice(0, end)}\nexport default createMediapipeSolutionsWasm;`;
    return { code: loader, map: null };
  },
};

export default defineConfig({
  plugins: [svelte(), segmentationLoader],
  worker: { format: 'es', plugins: () => [segmentationLoader] },
  optimizeDeps: { exclude: ['@mediapipe/selfie_segmentation'] },
  assetsInclude: ['**/*.tflite', '**/*.binarypb'],
  build: {
    target: 'es2022',
    // The Content-Security-Policy takes fonts and pictures from files only, no `data:` addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  css: {
    preprocessorOptions: {
      scss: {
        loadPaths: ['node_modules'],
        quietDeps: true,
        // Bootstrap Italia is written for the older module system of Sass.
        silenceDeprecations: ['import', 'global-builtin', 'color-functions', 'if-function'],
      },
    },
  },
  server: { proxy: { '/api': { target: SERVER, ws: true } } },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
});

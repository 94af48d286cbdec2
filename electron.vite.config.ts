// Three bundles: the main process with its worker, the preload bridge, the window.

import { fileURLToPath } from 'node:url';
import vue from '@vitejs/plugin-vue';
import { defineConfig } from 'electron-vite';

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  main: {
    build: {
      outDir: 'out/main',
      // The oldest runtime the application is run on has Node 20 and Chromium 130.
      target: 'node20.18',
      externalizeDeps: true,
      rollupOptions: {
        // The worker is a file of its own: it is started by path, and native modules resolve from it.
        input: { index: at('main/index.ts'), worker: at('main/worker.ts') },
        output: { format: 'es', entryFileNames: '[name].js', chunkFileNames: 'chunks/[name].js' },
      },
    },
  },
  preload: {
    build: {
      outDir: 'out/preload',
      target: 'node20.18',
      externalizeDeps: false,
      // A sandboxed preload is one CommonJS file.
      rollupOptions: {
        input: { index: at('preload/index.ts') },
        output: { format: 'cjs', entryFileNames: '[name].cjs' },
      },
    },
  },
  renderer: {
    root: at('renderer'),
    base: './',
    plugins: [vue()],
    worker: { format: 'es' },
    build: {
      outDir: at('out/renderer'),
      target: 'chrome130',
      // Everything is a file beside the page, so that the content security policy needs no data: or blob:.
      assetsInlineLimit: 0,
      chunkSizeWarningLimit: 8192,
      rollupOptions: { input: at('renderer/index.html') },
    },
  },
});

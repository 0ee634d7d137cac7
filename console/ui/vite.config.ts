import { defineConfig } from 'vite'

// Built files must not depend on where or when they are built: hashes of contents, no source maps, no absolute URLs.
export default defineConfig({
  base: './',
  publicDir: 'public',
  build: {
    outDir: 'dist',
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    proxy: Object.fromEntries(
      ['/api', '/mqtt'].map((path) => [path, { target: process.env.SAPWOOD ?? 'http://127.0.0.1:8083', ws: true, changeOrigin: true }]),
    ),
  },
})

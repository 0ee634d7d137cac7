// Holds that the committed files are those that the sources give: builds elsewhere and compares, byte by byte.
import { readFileSync, readdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'vite'

const here = join(import.meta.dirname, '..')
const out = mkdtempSync(join(tmpdir(), 'sapwood-console-'))
const list = (dir) => readdirSync(dir, { recursive: true, withFileTypes: true }).filter((f) => f.isFile()).map((f) => join(f.parentPath, f.name).slice(dir.length)).sort()
try {
  await build({ root: here, logLevel: 'error', build: { outDir: out, emptyOutDir: true } })
  const dist = join(here, 'dist'), a = list(dist), b = list(out)
  const differ = [...new Set([...a, ...b])].filter((f) => !a.includes(f) || !b.includes(f) || !readFileSync(dist + f).equals(readFileSync(out + f)))
  if (differ.length) { console.error(`dist is not what the sources give: npm run build, and commit it\n${differ.join('\n')}`); process.exitCode = 1 }
} finally {
  rmSync(out, { recursive: true, force: true })
}

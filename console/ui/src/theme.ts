import { signal } from '@preact/signals'

export type Theme = 'auto' | 'light' | 'dark'

const read = (): Theme => { try { const t = localStorage.getItem('sapwood.theme'); return t === 'light' || t === 'dark' ? t : 'auto' } catch { return 'auto' } }

export const theme = signal<Theme>(read())
const system = matchMedia('(prefers-color-scheme: dark)')
/** Whether the page is dark now, whoever decided it. */
export const dark = signal(false)

export function applyTheme() {
  dark.value = theme.value === 'dark' || (theme.value === 'auto' && system.matches)
  document.documentElement.dataset.theme = dark.value ? 'dark' : 'light'
}

system.addEventListener('change', applyTheme)

export function nextTheme() {
  theme.value = theme.value === 'auto' ? (system.matches ? 'light' : 'dark') : theme.value === 'dark' === system.matches ? 'auto' : system.matches ? 'dark' : 'light'
  try { localStorage.setItem('sapwood.theme', theme.value) } catch { /* private window: it holds for this page */ }
  applyTheme()
}

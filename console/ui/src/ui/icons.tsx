// Line icons on a grid of 24, drawn for this console.

const paths = {
  now: 'M3 12h4l2.5-6 4 13 3-9 1.5 2H21',
  clients: 'M5 5h14v9H5zM9 19h6M12 14v5',
  topics: 'M6 4v12a2 2 0 0 0 2 2h3M6 9h5M14 7h6v4h-6zM14 16h6v4h-6z',
  retained: 'M7 4h10v16l-5-4-5 4z',
  events: 'M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01',
  ask: 'M4 5h16v11h-9l-5 4v-4H4zM9 10.5h.01M12 10.5h.01M15 10.5h.01',
  trace: 'M4 7h10m0 0-3-3m3 3-3 3M20 17H10m0 0 3-3m-3 3 3 3',
  broker: 'M4 5h16v6H4zM4 13h16v6H4zM8 8h.01M8 16h.01',
  security: 'M12 3l7 3v5c0 5-3 8-7 10-4-2-7-5-7-10V6z',
  mqtt: 'M4 19a8 8 0 0 0-1-1M4 13a6 6 0 0 1 7 7M4 8a11 11 0 0 1 12 12M4 3a16 16 0 0 1 17 17',
  search: 'M11 5a6 6 0 1 0 0 12 6 6 0 0 0 0-12zM20 20l-4.5-4.5',
  help: 'M9 9a3 3 0 1 1 4 3c-1 .5-1 1-1 2M12 17.5h.01M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M5 19l2-2M17 7l2-2',
  moon: 'M20 14A8 8 0 1 1 10 4a6.5 6.5 0 0 0 10 10z',
  auto: 'M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18',
  user: 'M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM4 21c0-4 3.5-6 8-6s8 2 8 6',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  close: 'M6 6l12 12M18 6L6 18',
  chevron: 'M9 6l6 6-6 6',
  down: 'M6 9l6 6 6-6',
  more: 'M5 12h.01M12 12h.01M19 12h.01',
  play: 'M7 4l13 8-13 8z',
  pause: 'M8 5v14M16 5v14',
  download: 'M12 4v11m0 0-4-4m4 4 4-4M5 20h14',
  trash: 'M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13',
  ok: 'M5 12.5l4.5 4.5L19 7.5',
  warn: 'M12 4l9 16H3zM12 10v4M12 17h.01',
  bad: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 7v6M12 16.5h.01',
  arrow: 'M5 12h14M13 6l6 6-6 6',
  up: 'M12 19V5M6 11l6-6 6 6',
  refresh: 'M20 11a8 8 0 1 0-2 6M20 4v7h-7',
  filter: 'M4 5h16l-6 8v6l-4-2v-4z',
  plus: 'M12 5v14M5 12h14',
  bolt: 'M13 2 5 14h6l-1 8 8-12h-6z',
  out: 'M14 4h5v16h-5M4 12h11m0 0-4-4m4 4-4 4',
  undo: 'M8 5 4 9l4 4M4 9h10a6 6 0 0 1 0 12h-3',
}

export type IconName = keyof typeof paths

export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={paths[name]} />
    </svg>
  )
}

export function Logo({ size = 26 }: { size?: number }) {
  return (
    <svg class="logo" width={size} height={size} viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" fill="#2f6b4f" />
      <circle cx="16" cy="16" r="10" fill="none" stroke="#f3efe4" stroke-width="2" />
      <circle cx="16" cy="16" r="6" fill="none" stroke="#f3efe4" stroke-width="2" opacity=".75" />
      <circle cx="16" cy="16" r="2.2" fill="#e2b65b" />
    </svg>
  )
}

/**
 * The conventions as tables: who may import whom, which names are banned where and what to use instead, which files are
 * the seams, which words stay out. A new convention is a new row here and, if it needs one, a check beside it.
 */

/** What a room may import from other rooms. `base` and `protocol` are imported file by file, the others by index.ts. */
export const rooms: Readonly<Record<string, readonly string[]>> = {
  base: [],
  protocol: ['base'],
  net: ['base'],
  storage: ['base'],
  client: ['base', 'net', 'protocol'],
  broker: ['base', 'net', 'protocol'],
  streams: ['base', 'client', 'storage', 'protocol'],
  testing: ['base', 'protocol', 'net', 'storage', 'client', 'broker', 'streams'],
  web: ['base', 'streams'],
  mesh: ['base', 'streams'],
  cli: ['base', 'protocol', 'net', 'storage', 'client', 'broker', 'streams', 'testing', 'web', 'mesh', 'root'],
  /** src/index.ts, the composition root. */
  root: ['base', 'protocol', 'net', 'storage', 'client', 'broker', 'streams'],
}
/** Rooms without a door: their files are imported one by one. */
export const openRooms: readonly string[] = ['base', 'protocol']
/** Doors besides `<room>/index.ts`. */
export const doors: readonly string[] = ['src/streams/codecs/index.ts']

/** Narrower than the room table: `from` may take only these parts of the room `to`, or only these files may. */
export const narrow: readonly { from: string; to: string; files?: readonly string[]; parts?: RegExp; why: string }[] = [
  {
    from: 'streams',
    to: 'client',
    files: ['src/streams/port.ts', 'src/streams/client-port.ts'],
    why: 'streams reaches Kafka through src/streams/port.ts, which client-port.ts fills, so that its tester needs no network',
  },
  {
    from: 'streams',
    to: 'protocol',
    parts: /^src\/protocol\/(record-|hash\/)/,
    why: "streams knows the protocol's record views and hashes, no messages",
  },
]

/** Node modules any room may use: they compute, and touch nothing outside the process. */
export const pureModules: readonly string[] = [
  'node:buffer',
  'node:util',
  'node:path',
  'node:url',
  'node:string_decoder',
  'node:crypto', // hashes and HMACs; its random names are banned below
]
/** Node modules by room beyond the pure ones; the names that do I/O are banned below. */
export const roomModules: Readonly<Record<string, readonly string[]>> = {
  protocol: ['node:zlib'],
  storage: ['node:zlib'], // checksums
}

export type Power =
  | 'clock'
  | 'timers'
  | 'random'
  | 'sockets'
  | 'dns'
  | 'files'
  | 'processes'
  | 'workers'
  | 'asyncZlib'
  | 'console'
/** The only files that may touch the outside world, and which part of it. */
export const seams: readonly { readonly files: RegExp; readonly powers: readonly Power[] }[] = [
  { files: /^src\/base\/real-scheduler\.ts$/, powers: ['clock', 'timers'] },
  { files: /^src\/base\/real-random\.ts$/, powers: ['random'] },
  { files: /^src\/net\/(tcp|tls)\.ts$/, powers: ['sockets', 'dns', 'timers'] },
  { files: /^src\/storage\/node-fs\.ts$/, powers: ['files'] },
  // Whether the process that left a lock behind still lives.
  { files: /^src\/storage\/log\/process-identity\.ts$/, powers: ['processes'] },
  // The thread that flushes and merges, and who starts it.
  { files: /^src\/storage\/log\/(millrace-storage-worker|worker-pool|worker-messages)\.ts$/, powers: ['workers'] },
  {
    files: /^src\/cli\//,
    powers: ['clock', 'timers', 'random', 'sockets', 'dns', 'files', 'processes', 'workers', 'asyncZlib', 'console'],
  },
]

const scheduler = 'the Scope’s scheduler (base/scope.ts)'
const random = 'the Scope’s random (base/scope.ts)'
/** Banned in src outside the seams. A dotted name is a member of a global; a plain one is the global itself. */
export const bannedGlobals: Readonly<Record<string, { power: Power; use: string }>> = {
  'Date.now': { power: 'clock', use: `${scheduler}: now()` },
  performance: { power: 'clock', use: `${scheduler}: monotonic()` },
  'process.hrtime': { power: 'clock', use: `${scheduler}: monotonic()` },
  'process.uptime': { power: 'clock', use: `${scheduler}: monotonic()` },
  setTimeout: { power: 'timers', use: `${scheduler}: setTimer()` },
  setInterval: { power: 'timers', use: `${scheduler}: setTimer(), set again in its callback` },
  clearTimeout: { power: 'timers', use: `${scheduler}: clearTimer()` },
  clearInterval: { power: 'timers', use: `${scheduler}: clearTimer()` },
  setImmediate: { power: 'timers', use: `${scheduler}: immediate()` },
  clearImmediate: { power: 'timers', use: `${scheduler}: immediate() and a state that makes it do nothing` },
  'process.nextTick': { power: 'timers', use: 'queueMicrotask' },
  'AbortSignal.timeout': { power: 'timers', use: 'sleep() of base/scope.ts with an AbortController' },
  'Math.random': { power: 'random', use: `${random}: next()` },
  'crypto.getRandomValues': { power: 'random', use: `${random}: bytes()` },
  'crypto.randomUUID': { power: 'random', use: `${random}: bytes()` },
  'crypto.randomBytes': { power: 'random', use: `${random}: bytes()` },
  'process.kill': { power: 'processes', use: 'storage/log/process-identity.ts' },
  console: { power: 'console', use: 'an event (base/events.ts): a library does not print' },
  eval: { power: 'console', use: 'a closure' },
  WebSocket: { power: 'sockets', use: 'the Scope’s network' },
}
/** Modules that do I/O: only in a file whose seam has the power. */
export const powerModules: Readonly<Record<string, Power>> = {
  'node:timers': 'timers',
  'node:timers/promises': 'timers',
  'node:perf_hooks': 'clock',
  'node:net': 'sockets',
  'node:tls': 'sockets',
  'node:http': 'sockets',
  'node:https': 'sockets',
  'node:http2': 'sockets',
  'node:dgram': 'sockets',
  'node:dns': 'dns',
  'node:dns/promises': 'dns',
  'node:fs': 'files',
  'node:os': 'processes',
  'node:fs/promises': 'files',
  'node:worker_threads': 'workers',
  'node:child_process': 'workers',
  'node:cluster': 'workers',
}
/** Names of a module that are banned although the module is allowed. */
export const bannedNames: readonly { module: string; names: RegExp; power: Power; use: string }[] = [
  { module: 'node:crypto', names: /^(random|getRandom|webcrypto)/, power: 'random', use: random },
  {
    module: 'node:zlib',
    names: /^(?!.*Sync$)(gzip|gunzip|deflate|inflate|unzip|brotli|zstd|create)/,
    power: 'asyncZlib',
    use: 'the …Sync form',
  },
]

/** Longest file, lines: a longer one usually holds two concepts. */
export const maxLines = 700

/** The project speaks of itself only: nobody else has these paths and hosts. */
export const foreignWords: readonly { readonly pattern: RegExp; readonly says: string }[] = [
  {
    pattern: /(?<![\w.~/-])\/(home|root|Users|work|mnt|srv|farm)\/[\w.-]/,
    says: 'names a path of one machine; use a relative path or a variable',
  },
  {
    pattern: /https?:\/\/(registry|repo\d?|proxy|mirror)\./,
    says: 'names the host of a registry; leave it to the tool’s own settings',
  },
]

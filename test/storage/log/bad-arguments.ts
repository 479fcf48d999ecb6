/** Arguments that a store refuses: a table for bad-input.test.ts. */
import { maxKeyBytes, maxValueBytes, Span, type StoreErrorCode } from '../../../src/storage/index.ts'

const key = Buffer.from('key')
const span = new Span()
/** Not touched, so that it takes no memory. */
const tooLong = (limit: number): Buffer => Buffer.allocUnsafeSlow(limit + 1)

/** A store as somebody without types calls it. */
export interface Untyped {
  writer(): Record<'put' | 'delete' | 'commit', (...args: readonly unknown[]) => void>
  put(...args: readonly unknown[]): void
  delete(...args: readonly unknown[]): void
  getSync(...args: readonly unknown[]): boolean
  get(key: unknown): unknown
  has(key: unknown): unknown
  iterate(range: unknown): unknown
  bulkLoad(): Record<'put' | 'delete' | 'advance' | 'abandon', (...args: readonly unknown[]) => void>
}

function load(store: Untyped, use: (open: ReturnType<Untyped['bulkLoad']>) => void): void {
  const open = store.bulkLoad()
  try {
    use(open)
  } finally {
    open.abandon()
  }
}

type Call = (store: Untyped) => unknown

/** What somebody hands in, the code of the error, what its message says, and the call. */
export const badArguments: readonly (readonly [what: string, code: StoreErrorCode, says: RegExp, call: Call])[] = [
  ...(
    [
      ['put', (store, bytes) => store.writer().put(0, bytes, 0, bytes.length, key, 0, 3)],
      ['delete', (store, bytes) => store.writer().delete(0, bytes, 0, bytes.length)],
      ['single put', (store, bytes) => store.put(0, bytes, 0, bytes.length, key, 0, 3)],
      ['single delete', (store, bytes) => store.delete(0, bytes, 0, bytes.length)],
      ['put of a load', (store, bytes) => load(store, (open) => open.put(0, bytes, 0, bytes.length, key, 0, 3))],
      ['getSync', (store, bytes) => store.getSync(0, bytes, 0, bytes.length, span)],
      ['get', (store, bytes) => store.get(bytes)],
      ['has', (store, bytes) => store.has(bytes)],
    ] satisfies [string, (store: Untyped, bytes: Buffer) => unknown][]
  ).map(
    ([what, call]) =>
      [
        `a key above the limit: ${what}`,
        'ERR_STORE_KEY',
        /a key of 16777216 bytes is above the limit of 16777215/,
        (store: Untyped) => call(store, tooLong(maxKeyBytes)),
      ] as const,
  ),
  ...(
    [
      ['put', (store, bytes) => store.writer().put(0, key, 0, 3, bytes, 0, bytes.length)],
      ['single put', (store, bytes) => store.put(0, key, 0, 3, bytes, 0, bytes.length)],
      ['put of a load', (store, bytes) => load(store, (open) => open.put(0, key, 0, 3, bytes, 0, bytes.length))],
    ] satisfies [string, (store: Untyped, bytes: Buffer) => unknown][]
  ).map(
    ([what, call]) =>
      [
        `a value above the limit: ${what}`,
        'ERR_STORE_VALUE',
        /a value of 1073741825 bytes is above the limit of 1073741824/,
        (store: Untyped) => call(store, tooLong(maxValueBytes)),
      ] as const,
  ),
  ...(
    [
      ['a string', 'key', 0, 3, /the key is a string: it must be a Buffer/],
      ['a Uint8Array', new Uint8Array(60), 0, 60, /the key is a Uint8Array: it must be a Buffer/],
      ['an array', [1, 2, 3], 0, 3, /the key is a Array: it must be a Buffer/],
      ['nothing', undefined, 0, 0, /the key is undefined: it must be a Buffer/],
      ['null', null, 0, 0, /the key is null: it must be a Buffer/],
      ['no span', key, undefined, undefined, /key span \[undefined, undefined\) is outside its buffer of 3 bytes/],
      ['texts as a span', key, '0', '3', /key span \[0, 3\) is outside its buffer of 3 bytes, or not of whole numbers/],
      ['a span of fractions', key, 0.5, 2.5, /key span \[0.5, 2.5\) is outside .* or not of whole numbers/],
      ['a span of NaN', key, 0, Number.NaN, /key span \[0, NaN\)/],
    ] as const
  ).flatMap(
    ([what, bytes, from, to, says]) =>
      [
        [`${what} as a key`, 'ERR_STORE_KEY', says, (store) => store.writer().put(0, bytes, from, to, key, 0, 3)],
        [`${what} as a key to delete`, 'ERR_STORE_KEY', says, (store) => store.delete(0, bytes, from, to)],
        [`${what} as a key to find`, 'ERR_STORE_KEY', says, (store) => store.getSync(0, bytes, from, to, span)],
        [
          `${what} as a value`,
          'ERR_STORE_VALUE',
          new RegExp(says.source.replace('key', 'value')),
          (store) => store.writer().put(0, key, 0, 3, bytes, from, to),
        ],
        [
          `${what} as a single value`,
          'ERR_STORE_VALUE',
          new RegExp(says.source.replace('key', 'value')),
          (store) => store.put(0, key, 0, 3, bytes, from, to),
        ],
      ] as const satisfies readonly (readonly [string, StoreErrorCode, RegExp, Call])[],
  ),
  ...([5, undefined, null, {}, [1, 2], new ArrayBuffer(3), new Float64Array(2), Symbol('s'), 5n] as const).flatMap(
    (given) =>
      (['get', 'has'] as const).map(
        (method) =>
          [
            `${method} of ${typeof given} ${Object.prototype.toString.call(given)}`,
            'ERR_STORE_KEY',
            /the key is .*: it must be a string or a Uint8Array/,
            (store: Untyped) => store[method](given),
          ] as const,
      ),
  ),
  ...(['from', 'to', 'prefix'] as const).map(
    (bound) =>
      [
        `a number as '${bound}' of a range`,
        'ERR_STORE_KEY',
        /the key is a number: it must be a string or a Uint8Array/,
        (store: Untyped) => store.iterate({ [bound]: 5 }),
      ] as const,
  ),
  ...([16, -1, 0.5, Number.NaN, '0', null, undefined] as const).map(
    (space) =>
      [
        `${typeof space} ${String(space)} as a key space`,
        'ERR_STORE_SPACE',
        /key space .* is not one of 0 to 15/,
        (store: Untyped) => store.writer().put(space, key, 0, 3, key, 0, 3),
      ] as const,
  ),
  ...(
    [
      [5, /checkpoint position undefined is not a whole number/],
      [null, /the checkpoint is null: it must have a position and a state/],
      [{ position: '1', state: key }, /checkpoint position 1 is not a whole number/],
      [{ position: -1, state: key }, /checkpoint position -1 is not a whole number/],
      [{ position: 1.5, state: key }, /checkpoint position 1.5 is not a whole number/],
      [{ position: 1n, state: key }, /checkpoint position 1 is not a whole number/],
      [{ position: 1 }, /the checkpoint's state is undefined: it must be a Buffer/],
      [{ position: 1, state: 'text' }, /the checkpoint's state is a string: it must be a Buffer/],
      [{ position: 1, state: Buffer.alloc(1025) }, /checkpoint state of 1025 bytes is above the limit of 1024/],
    ] as const
  ).flatMap(([checkpoint, says], i) =>
    (
      [
        ['commit', (store: Untyped) => store.writer().commit(checkpoint)],
        ['a load', (store: Untyped) => load(store, (open) => open.advance(checkpoint))],
      ] as const
    ).map(([where, call]) => [`checkpoint ${i} of ${where}`, 'ERR_STORE_CHECKPOINT', says, call] as const),
  ),
]

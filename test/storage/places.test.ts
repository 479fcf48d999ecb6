/**
 * Where stores are: places and options that cannot be are refused before anything is made, by every engine alike, and
 * whatever a name holds, its store lies below the engine's directory.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, sep } from 'node:path'
import * as assert from 'uvu/assert'
import { OptionError } from '../../src/base/errors.ts'
import {
  LogEngine,
  MemoryEngine,
  memoryEngine,
  ReadOnlyStore,
  type StorageEngine,
  type StoreDirectory,
  storePath,
} from '../../src/storage/index.ts'
import { rejects, suite } from '../support/suite.ts'

const test = suite('storage: places and options')
let root = ''
test.before.each(() => {
  root = mkdtempSync(join(tmpdir(), 'millrace-places-'))
})
test.after.each(() => rmSync(root, { recursive: true }))

const good = { group: 'g', table: 't', partition: 0 }

const badPlaces: readonly (readonly [what: string, place: unknown, says: RegExp])[] = [
  ...[undefined, null, 'g/t/0', 5, Symbol('s')].map(
    (place) =>
      [`${String(place)} as a whole`, place, /it is .*: it must have a group, a table and a partition/] as const,
  ),
  ...[-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, '0', '../0', 1n, null, undefined].map(
    (partition) =>
      [
        `partition ${typeof partition} ${String(partition)}`,
        { ...good, partition },
        /partition must be a whole number from 0 to 2147483647/,
      ] as const,
  ),
  ...(['group', 'table'] as const).flatMap((part) =>
    ['', 5, null, undefined, {}, ['g'], new String('g'), Buffer.from('g'), 'a\ud800', '\udc00a'].map(
      (name) =>
        [
          `${part} ${typeof name} ${JSON.stringify(name)}`,
          { ...good, [part]: name },
          new RegExp(`${part} must be a text of at least one character, without halves of surrogate pairs`),
        ] as const,
    ),
  ),
]

/** What the call throws or rejects with. */
async function refused(what: string, call: () => unknown): Promise<OptionError> {
  try {
    await call()
  } catch (error) {
    assert.instance(error, OptionError, `${what}: ${String(error)}`)
    return error as OptionError
  }
  return assert.unreachable(`${what} is taken`) as never
}

function logEngineIn(dir: string): LogEngine {
  return new LogEngine({ dir, sync: 'never', worker: false })
}

test(`${badPlaces.length} places are refused, and nothing is made`, async () => {
  const log = logEngineIn(join(root, 'stores'))
  const memory = memoryEngine()
  for (const [what, place, says] of badPlaces) {
    const directory = place as StoreDirectory
    const calls: readonly (readonly [string, () => unknown])[] = [
      ['open', () => log.open(directory)],
      ['pathOf', () => log.pathOf(directory)],
      ['destroy', () => log.destroy(directory)],
      ['aside.has', () => log.aside.has(directory)],
      ['aside.pathOf', () => log.aside.pathOf(directory)],
      ['aside.put', () => log.aside.put(directory)],
      ['aside.open', () => log.aside.open(directory)],
      ['aside.remove', () => log.aside.remove(directory)],
      ['storePath', () => storePath(directory)],
      ['open in memory', () => memory.open(directory)],
    ]
    for (const [name, call] of calls) {
      const error = await refused(`${what}: ${name}`, call)
      assert.is(error.code, 'ERR_OPTIONS')
      assert.not.ok(error.retriable)
      assert.match(error.message, /^invalid options for the place of a store: /)
      assert.match(error.message, says, what)
      assert.is(error.faults.length, 1, error.message)
    }
  }
  const all = await refused('three faults', () => log.open({ group: '', table: '', partition: -1 }))
  assert.is(all.faults.length, 3)
  await log.close()
  await memory.close()
  assert.equal(readdirSync(root), [])
})

test('whatever a name holds, its store is below the directory, and nobody else has it', async () => {
  const long = 'x'.repeat(5000)
  const names = [
    '/',
    '..',
    '.',
    '../..',
    'a/b',
    'a\\b',
    'a\0b',
    '\n',
    ' ',
    '%',
    '%2e',
    'CON',
    'g',
    'G',
    '😀',
    long,
    `${long}y`,
  ]
  const engines: readonly StorageEngine[] = [logEngineIn(join(root, 'stores')), memoryEngine()]
  for (const engine of engines) {
    for (const [i, name] of names.entries()) {
      for (const directory of [
        { group: name, table: 't', partition: 2 ** 31 - 1 },
        { group: 'g0', table: name, partition: 0 },
      ]) {
        const store = await engine.open(directory)
        assert.is(store.name, `${directory.group}/${directory.table}/${directory.partition}`)
        assert.is(store.checkpoint, undefined, `${JSON.stringify(name)} has a store of its own`)
        store.writer().commit({ position: i, state: Buffer.alloc(0) })
        const path = engine.pathOf?.(directory)
        if (path === undefined) continue
        assert.ok(path.startsWith(`${join(root, 'stores')}${sep}`), path)
        assert.ok(existsSync(join(path, 'CURRENT')), path)
        assert.is(path.slice(root.length).split('/').length, 5, path)
      }
    }
    await engine.close()
  }
  assert.equal(readdirSync(root), ['stores'])
})

test('paths that are none are refused', async () => {
  const engine = logEngineIn(join(root, 'stores'))
  for (const path of [undefined, null, 5, '', Buffer.from('/tmp'), new URL('file:///tmp'), join(root, 'a\0b')]) {
    for (const [name, call] of [
      ['openPath', () => engine.openPath(path as string)],
      ['ReadOnlyStore.open', () => ReadOnlyStore.open(path as string)],
    ] as const) {
      const error = await refused(`${name} of ${String(path)}`, call)
      assert.match(error.message, new RegExp(`invalid options for ${name}: the path must name a directory`))
    }
  }
  await engine.close()
  const { message } = await rejects(engine.openPath(join(root, 'y'.repeat(300))), 'ERR_STORE_IO')
  assert.match(message, /choose a shorter directory/)
  assert.equal(readdirSync(root), [])
})

test('options of engines that cannot be are refused, each by name', async () => {
  const numbers = [Number.NaN, -1, 0.5, Number.POSITIVE_INFINITY, 2 ** 53, '16', 16n, null, {}]
  const bad: Readonly<Record<string, readonly unknown[]>> = {
    dir: ['', 5, null, {}, Buffer.from('/tmp'), new URL('file:///tmp'), 'a\0b'],
    writeBufferBytes: [...numbers, 0, 4095],
    cacheBytes: numbers,
    memoryBytes: [...numbers, 0, 1024],
    maxOpenFiles: [...numbers, 0, 7],
    sync: ['x', '', 'Interval', 5, true, null],
    syncIntervalMs: [...numbers, 0, 2 ** 31],
    worker: ['false', 0, null],
    onEvent: ['x', {}, 5],
    fs: ['x', {}, 5],
    scheduler: ['x', {}, 5],
    random: ['x', {}, 5],
    direction: ['x'],
  }
  const given = (name: string, value: unknown) => ({ dir: join(root, 'stores'), [name]: value })
  for (const [name, values] of Object.entries(bad)) {
    for (const value of values) {
      const error = await refused(`${name}: ${String(value)}`, () => new LogEngine(given(name, value)))
      assert.match(error.message, new RegExp(`^invalid options for log engine: (unknown option )?${name}`))
      assert.is(error.faults.length, 1, error.message)
    }
  }
  for (const options of [undefined, null, {}]) {
    const error = await refused(String(options), () => new LogEngine(options as never))
    assert.match(error.message, /dir must name a directory/)
  }
  for (const value of [...numbers, 0, 1024, 16 * 2 ** 30]) {
    const error = await refused(
      `maxStoreBytes ${String(value)}`,
      () => new MemoryEngine({ maxStoreBytes: value as number }),
    )
    assert.match(error.message, /^invalid options for memory engine: maxStoreBytes/)
  }
  assert.equal(readdirSync(root), [])
})

test.run()

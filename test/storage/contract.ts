/**
 * The behaviour suite of storage engines: `storeContract(name, open)` runs it on whatever `open` makes. An engine is right
 * when it passes this and the model (model.ts).
 */
import * as assert from 'uvu/assert'
import {
  type Checkpoint,
  maxCheckpointStateBytes,
  maxKeyBytes,
  Span,
  type StorageEngine,
  type Store,
  StoreError,
  type StoreIterator,
  type StoreRange,
} from '../../src/storage/index.ts'
import { rejects, suite } from '../support/suite.ts'

export type OpenEngine = () => Promise<StorageEngine>

const nothing = Buffer.alloc(0)
const directory = { group: 'group', table: 'table', partition: 0 }

export function bytes(text: string): Buffer {
  return Buffer.from(text, 'utf8')
}

export function checkpointAt(position: number, state: Buffer = nothing): Checkpoint {
  return { position, state }
}

/** Adds a put of whole buffers to the store's batch. */
export function put(store: Store, key: Buffer | string, value: Buffer | string, space = 0): void {
  const k = typeof key === 'string' ? bytes(key) : key
  const v = typeof value === 'string' ? bytes(value) : value
  store.writer().put(space, k, 0, k.length, v, 0, v.length)
}

export function remove(store: Store, key: Buffer | string, space = 0): void {
  const k = typeof key === 'string' ? bytes(key) : key
  store.writer().delete(space, k, 0, k.length)
}

/** Keys (latin1) in the order an iteration gives them. */
function keysOf(store: Pick<Store, 'entries'>, range?: StoreRange): string[] {
  return [...store.entries(range)].map(([key]) => key.toString('latin1'))
}

function textOf(store: Pick<Store, 'get'>, key: string): string | undefined {
  return store.get(key)?.toString()
}

/** The error that `action` throws. */
export function thrown(action: () => void, code: string): StoreError {
  try {
    action()
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    assert.is(error.code, code)
    return error
  }
  throw new Error(`expected a StoreError ${code}, but nothing was thrown`)
}

export function storeContract(name: string, open: OpenEngine): void {
  const test = suite(`store contract: ${name}`)

  const onStore = (title: string, body: (store: Store, engine: StorageEngine) => void | Promise<void>): void => {
    test(title, async () => {
      const engine = await open()
      try {
        await body(await engine.open(directory), engine)
      } finally {
        await engine.close()
      }
    })
  }

  onStore('a new store is empty and has no checkpoint', (store) => {
    assert.is(store.checkpoint, undefined)
    assert.is(store.entryCount, 0)
    assert.is(store.byteLength, 0)
    assert.is(store.get('a'), undefined)
    assert.is(store.has('a'), false)
    assert.equal(keysOf(store), [])
    assert.is(store.name, 'group/table/0')
  })

  onStore('a batch is invisible until its commit, then visible with its checkpoint', (store) => {
    put(store, 'a', '1')
    put(store, 'b', '2')
    assert.is(store.get('a'), undefined)
    assert.is(store.entryCount, 0)
    assert.equal(keysOf(store), [])
    assert.is(store.writer().count, 2)
    assert.is(store.writer().byteLength, 4)
    store.writer().commit(checkpointAt(7, bytes('state')))
    assert.is(textOf(store, 'a'), '1')
    assert.is(textOf(store, 'b'), '2')
    assert.is(store.entryCount, 2)
    assert.is(store.byteLength, 4)
    assert.is(store.checkpoint?.position, 7)
    assert.is(store.checkpoint?.state.toString(), 'state')
    assert.is(store.writer().count, 0)
  })

  onStore('a commit without a checkpoint keeps the old one; an empty commit moves it', (store) => {
    store.writer().commit(checkpointAt(1))
    put(store, 'a', '1')
    store.writer().commit()
    assert.is(store.checkpoint?.position, 1)
    store.writer().commit(checkpointAt(2))
    assert.is(store.checkpoint?.position, 2)
  })

  onStore('the checkpoint is a copy', (store) => {
    const state = bytes('state')
    store.writer().commit(checkpointAt(1, state))
    state.fill(0)
    assert.is(store.checkpoint?.state.toString(), 'state')
  })

  onStore('the last of several operations on a key counts', (store) => {
    put(store, 'a', '1')
    put(store, 'a', '2')
    remove(store, 'b')
    put(store, 'b', '1')
    put(store, 'c', '1')
    remove(store, 'c')
    store.writer().commit()
    assert.is(textOf(store, 'a'), '2')
    assert.is(textOf(store, 'b'), '1')
    assert.is(store.get('c'), undefined)
    assert.is(store.entryCount, 2)
    assert.equal(keysOf(store), ['a', 'b'])
    remove(store, 'a')
    put(store, 'a', '33')
    put(store, 'b', '4')
    remove(store, 'b')
    store.writer().commit()
    assert.equal(keysOf(store), ['a'])
    assert.is(store.byteLength, 3)
  })

  onStore('an abandoned batch leaves nothing behind', (store) => {
    put(store, 'a', '1')
    store.writer().commit(checkpointAt(1))
    put(store, 'a', '2')
    put(store, 'new', '3')
    remove(store, 'a')
    store.writer().abandon()
    assert.is(store.writer().count, 0)
    assert.is(textOf(store, 'a'), '1')
    assert.is(store.get('new'), undefined)
    assert.equal(keysOf(store), ['a'])
    put(store, 'new', '4')
    store.writer().commit()
    assert.equal(keysOf(store), ['a', 'new'])
    assert.is(textOf(store, 'new'), '4')
  })

  onStore('a failed put dooms the whole batch until it is abandoned', (store) => {
    put(store, 'a', '1')
    store.writer().commit(checkpointAt(1))
    put(store, 'b', '2')
    remove(store, 'a')
    thrown(() => store.writer().put(0, bytes('c'), 0, 2, nothing, 0, 0), 'ERR_STORE_KEY')
    thrown(() => store.writer().commit(checkpointAt(2)), 'ERR_STORE_BATCH')
    assert.equal(keysOf(store), ['a'])
    assert.is(store.checkpoint?.position, 1)
    store.writer().abandon()
    put(store, 'b', '2')
    store.writer().commit(checkpointAt(2))
    assert.equal(keysOf(store), ['a', 'b'])
  })

  onStore('a bad checkpoint changes nothing, and the batch can be committed with a good one', (store) => {
    put(store, 'a', '1')
    const { commit } = { commit: (checkpoint: Checkpoint) => store.writer().commit(checkpoint) }
    for (const position of [-1, 0.5, Number.NaN, 2 ** 53]) {
      thrown(() => commit(checkpointAt(position)), 'ERR_STORE_CHECKPOINT')
    }
    const tooLong = Buffer.alloc(maxCheckpointStateBytes + 1)
    assert.match(thrown(() => commit(checkpointAt(1, tooLong)), 'ERR_STORE_CHECKPOINT').message, /1024/)
    assert.is(store.get('a'), undefined)
    commit(checkpointAt(1, tooLong.subarray(1)))
    assert.is(textOf(store, 'a'), '1')
    assert.is(store.checkpoint?.state.length, maxCheckpointStateBytes)
  })

  onStore('spans: only the given part of the buffers counts, and the source may change afterwards', (store) => {
    const source = bytes('..key--value..')
    store.writer().put(0, source, 2, 5, source, 7, 12)
    source.fill(0x2e)
    store.writer().commit()
    assert.is(textOf(store, 'key'), 'value')
    const span = new Span()
    const look = bytes('xxkeyxx')
    assert.is(store.getSync(0, look, 2, 5, span), true)
    assert.is(span.length, 5)
    assert.is(span.bytes.toString('latin1', span.from, span.to), 'value')
    assert.is(span.copy().toString(), 'value')
    assert.is(store.hasSync(0, look, 2, 5), true)
    const { bytes: before, from, to } = span
    assert.is(store.getSync(0, look, 1, 5, span), false, 'another key')
    assert.ok(span.bytes === before && span.from === from && span.to === to, 'a miss leaves the span alone')
  })

  onStore('bad arguments are refused with what is wrong', (store) => {
    const key = bytes('key')
    const batch = store.writer()
    const span = new Span()
    for (const [from, to] of [
      [-1, 2],
      [2, 1],
      [0, 4],
    ] as const) {
      thrown(() => batch.put(0, key, from, to, key, 0, 1), 'ERR_STORE_KEY')
      thrown(() => batch.put(0, key, 0, 1, key, from, to), 'ERR_STORE_VALUE')
      thrown(() => batch.delete(0, key, from, to), 'ERR_STORE_KEY')
      thrown(() => store.getSync(0, key, from, to, span), 'ERR_STORE_KEY')
      thrown(() => store.hasSync(0, key, from, to), 'ERR_STORE_KEY')
    }
    for (const space of [-1, 16, 0.5, Number.NaN]) {
      thrown(() => batch.put(space, key, 0, 3, key, 0, 3), 'ERR_STORE_SPACE')
      thrown(() => batch.delete(space, key, 0, 3), 'ERR_STORE_SPACE')
      thrown(() => store.iterate({ space }), 'ERR_STORE_SPACE')
    }
    const large = Buffer.alloc(maxKeyBytes + 1)
    const error = thrown(() => batch.put(0, large, 0, large.length, key, 0, 1), 'ERR_STORE_KEY')
    assert.match(error.message, /store group\/table\/0: a key of 16777216 bytes/)
    batch.abandon()
    assert.is(store.entryCount, 0)
  })

  onStore('key spaces are separate, and one batch spans them', (store) => {
    for (let space = 0; space < 16; space++) put(store, 'key', `in ${space}`, space)
    store.writer().commit(checkpointAt(1))
    assert.is(store.entryCount, 16)
    const key = bytes('key')
    const span = new Span()
    for (let space = 0; space < 16; space++) {
      assert.ok(store.getSync(space, key, 0, 3, span))
      assert.is(span.copy().toString(), `in ${space}`)
      assert.equal(keysOf(store, { space }), ['key'])
    }
    remove(store, 'key', 3)
    store.writer().commit()
    assert.not.ok(store.hasSync(3, key, 0, 3))
    assert.ok(store.hasSync(4, key, 0, 3))
    assert.equal(keysOf(store, { space: 3 }), [])
    assert.equal(keysOf(store, { space: 4 }), ['key'])
  })

  onStore('hostile keys are only keys', (store) => {
    const keys = [
      '',
      '\0',
      '\0\0',
      '__proto__',
      'constructor',
      'toString',
      '..',
      'CON',
      '\u{1f600}',
      '\uffff',
      'a'.repeat(65_536),
    ]
    const odd = [Buffer.from([0xff]), Buffer.from([0xff, 0xff]), Buffer.from([0xc3, 0x28]), Buffer.alloc(65_536, 0xff)]
    const all = [...keys.map(bytes), ...odd]
    for (const [i, key] of all.entries()) {
      assert.is(store.has(key), false)
      put(store, key, `value ${i}`)
    }
    store.writer().commit()
    assert.is(store.entryCount, all.length)
    for (const [i, key] of all.entries()) assert.is(store.get(key)?.toString(), `value ${i}`)
    const sorted = [...all].sort(Buffer.compare)
    const found = [...store.entries()].map(([key]) => key)
    assert.is(found.length, all.length)
    for (const [i, key] of sorted.entries()) assert.ok(key.equals(found[i]!), `position ${i}`)
    for (const key of all) remove(store, key)
    store.writer().commit()
    assert.is(store.entryCount, 0)
    assert.is(store.byteLength, 0)
  })

  onStore('values of 0 bytes to 1 MB come back, grow and shrink', (store) => {
    const sizes = [0, 1, 7, 8, 9, 100, 4096, 65_535, 131_072, 1_000_000]
    for (const round of [0, 1, 2]) {
      for (const [i, size] of sizes.entries()) {
        put(store, `key ${i}`, Buffer.alloc(sizes[(i + round) % sizes.length]!, round * 16 + i))
        assert.type(size, 'number')
      }
      store.writer().commit()
      for (const i of sizes.keys()) {
        const expected = Buffer.alloc(sizes[(i + round) % sizes.length]!, round * 16 + i)
        assert.ok(store.get(`key ${i}`)?.equals(expected), `round ${round}, key ${i}`)
      }
    }
    const total = sizes.reduce((sum, size) => sum + size, 0)
    assert.is(store.byteLength, total + sizes.length * 5)
  })

  onStore('get gives a copy', (store) => {
    put(store, 'a', 'value')
    store.writer().commit()
    store.get('a')!.fill(0)
    for (const [key, value] of store.entries()) {
      key.fill(0)
      value.fill(0)
    }
    assert.is(textOf(store, 'a'), 'value')
  })

  onStore('keys may be strings, Buffers and Uint8Arrays', (store) => {
    put(store, 'é', '1')
    store.writer().commit()
    assert.is(textOf(store, 'é'), '1')
    assert.is(store.get(Buffer.from('é'))?.toString(), '1')
    const wide = new Uint8Array([0, 0xc3, 0xa9, 0])
    assert.is(store.get(wide.subarray(1, 3))?.toString(), '1')
    assert.equal(keysOf(store, { prefix: wide.subarray(1, 2) }).length, 1)
  })

  onStore('iteration is by unsigned bytes, not by UTF-16', (store) => {
    const keys = ['\uffee', '\u{10000}', 'z', 'é', 'Z', '', 'za', 'z\0']
    for (const key of keys) put(store, key, '1')
    store.writer().commit()
    const expected = keys.map(bytes).sort(Buffer.compare).map(String)
    assert.not.equal(expected, [...keys].sort())
    assert.equal(
      [...store.entries()].map(([key]) => key.toString()),
      expected,
    )
    assert.equal(
      [...store.entries({ reverse: true })].map(([key]) => key.toString()),
      expected.reverse(),
    )
  })

  test('ranges, prefixes and both directions', async () => {
    const engine = await open()
    const store = await engine.open(directory)
    const keys = ['', 'a', 'a\0', 'aa', 'ab', 'b', 'b\xff', 'b\xffz', 'c', '\xff', '\xff\xff', '\xff\xffz'].map((key) =>
      Buffer.from(key, 'latin1'),
    )
    for (const key of [...keys].reverse()) put(store, key, key)
    store.writer().commit()
    const bounds = [undefined, ...keys, Buffer.from('aaa'), Buffer.from('bz'), Buffer.from([0xff, 0xff, 0xff])]
    for (const from of bounds) {
      for (const to of bounds) {
        for (const prefix of [undefined, '', 'a', 'b', 'b\xff', '\xff', '\xff\xff', 'x'].map((text) =>
          text === undefined ? undefined : Buffer.from(text, 'latin1'),
        )) {
          const expected = keys.filter(
            (key) =>
              (from === undefined || key.compare(from) >= 0) &&
              (to === undefined || key.compare(to) < 0) &&
              (prefix === undefined || key.subarray(0, prefix.length).equals(prefix)),
          )
          const range: StoreRange = {
            ...(from === undefined ? {} : { from }),
            ...(to === undefined ? {} : { to }),
            ...(prefix === undefined ? {} : { prefix }),
          }
          const texts = expected.map((key) => key.toString('latin1'))
          const what = JSON.stringify([from, to, prefix].map((key) => key?.toString('latin1')))
          assert.equal(keysOf(store, range), texts, what)
          assert.equal(keysOf(store, { ...range, reverse: true }), texts.reverse(), `${what} reverse`)
        }
      }
    }
    await engine.close()
  })

  onStore('iteration sees keys, values and spans until the next step', (store) => {
    put(store, 'a', '1')
    put(store, 'b', '')
    store.writer().commit()
    const iterator = store.iterate()
    assert.ok(iterator.next())
    assert.is(iterator.key.copy().toString(), 'a')
    assert.is(iterator.value.copy().toString(), '1')
    assert.ok(iterator.next())
    assert.is(iterator.key.copy().toString(), 'b')
    assert.is(iterator.value.length, 0)
    assert.not.ok(iterator.next())
    assert.not.ok(iterator.next())
  })

  onStore('an iterator sees the moment it was made, whatever is written meanwhile', (store) => {
    for (const key of ['a', 'b', 'c', 'd']) put(store, key, `old ${key}`)
    store.writer().commit()
    const iterator = store.iterate()
    assert.ok(iterator.next())
    put(store, 'b', 'new b')
    put(store, 'bb', 'new')
    remove(store, 'c')
    store.writer().commit()
    const backwards = store.iterate({ reverse: true })
    put(store, 'd', 'newest')
    remove(store, 'bb')
    put(store, 'c', 'again')
    store.writer().commit()
    assert.equal(rest(iterator), [
      ['b', 'old b'],
      ['c', 'old c'],
      ['d', 'old d'],
    ])
    assert.equal(rest(backwards), [
      ['d', 'old d'],
      ['bb', 'new'],
      ['b', 'new b'],
      ['a', 'old a'],
    ])
    assert.equal(rest(store.iterate()), [
      ['a', 'old a'],
      ['b', 'new b'],
      ['c', 'again'],
      ['d', 'newest'],
    ])
    assert.is(store.stats().openSnapshots, 0, 'exhausted iterators let go')
  })

  onStore('closing an iterator, or leaving a loop over entries, lets go', (store) => {
    put(store, 'a', '1')
    put(store, 'b', '1')
    store.writer().commit()
    const iterator = store.iterate()
    assert.is(store.stats().openSnapshots, 1)
    iterator.close()
    iterator.close()
    assert.is(store.stats().openSnapshots, 0)
    assert.not.ok(iterator.next())
    for (const [key] of store.entries()) {
      assert.is(key.toString(), 'a')
      assert.is(store.stats().openSnapshots, 1)
      break
    }
    assert.is(store.stats().openSnapshots, 0)
  })

  onStore('a snapshot is the store of its moment', (store) => {
    put(store, 'a', '1')
    put(store, 'gone', '1')
    store.writer().commit(checkpointAt(1))
    put(store, 'staged', 'before the snapshot')
    const snapshot = store.snapshot()
    put(store, 'a', '2')
    put(store, 'later', '2')
    remove(store, 'gone')
    store.writer().commit(checkpointAt(2))
    assert.is(snapshot.checkpoint?.position, 1)
    assert.is(snapshot.entryCount, 2)
    assert.is(textOf(snapshot, 'a'), '1')
    assert.is(textOf(snapshot, 'gone'), '1')
    assert.is(snapshot.get('later'), undefined)
    assert.is(snapshot.has('staged'), false)
    assert.is(snapshot.has('gone'), true)
    assert.equal(keysOf(snapshot), ['a', 'gone'])
    assert.equal(keysOf(snapshot, { reverse: true, from: 'b' }), ['gone'])
    assert.is(textOf(store, 'a'), '2')
    assert.equal(keysOf(store), ['a', 'later', 'staged'])
    const span = new Span()
    assert.ok(snapshot.getSync(0, bytes('a'), 0, 1, span))
    assert.is(span.copy().toString(), '1')
    snapshot.release()
    snapshot.release()
    thrown(() => snapshot.get('a'), 'ERR_STORE_CLOSED')
    thrown(() => snapshot.iterate(), 'ERR_STORE_CLOSED')
  })

  onStore('snapshots of several moments do not disturb each other, in whatever order they are released', (store) => {
    for (const order of [
      [0, 1, 2],
      [2, 1, 0],
      [1, 0, 2],
      [1, 2, 0],
      [0, 2, 1],
      [2, 0, 1],
    ]) {
      const snapshots = [0, 1, 2].map((i) => {
        put(store, 'a', `a${i}`)
        if (i === 1) remove(store, 'b')
        else put(store, 'b', `b${i}`)
        store.writer().commit()
        return store.snapshot()
      })
      put(store, 'a', 'end')
      put(store, 'b', 'end')
      store.writer().commit()
      const open = new Set([0, 1, 2])
      for (const released of order) {
        for (const i of open) {
          assert.is(textOf(snapshots[i]!, 'a'), `a${i}`)
          assert.is(textOf(snapshots[i]!, 'b'), i === 1 ? undefined : `b${i}`)
        }
        snapshots[released]!.release()
        open.delete(released)
        put(store, 'a', `after ${released}`)
        store.writer().commit()
      }
    }
    assert.is(store.stats().openSnapshots, 0)
  })

  onStore('an iterator of a snapshot ends with it', (store) => {
    put(store, 'a', '1')
    store.writer().commit()
    const snapshot = store.snapshot()
    const iterator = snapshot.iterate()
    snapshot.release()
    thrown(() => iterator.next(), 'ERR_STORE_CLOSED')
  })

  onStore('a bulk load is visible at once and carries its checkpoints', (store) => {
    const load = store.bulkLoad()
    const put = (key: string, value: string): void =>
      load.put(0, bytes(key), 0, key.length, bytes(value), 0, value.length)
    put('a', '1')
    assert.is(textOf(store, 'a'), '1')
    assert.is(store.checkpoint, undefined)
    load.advance(checkpointAt(5))
    assert.is(store.checkpoint?.position, 5)
    put('a', '2')
    put('a', 'longer than before')
    put('b', '1')
    load.delete(0, bytes('b'), 0, 1)
    load.delete(0, bytes('never'), 0, 5)
    thrown(() => load.put(16, bytes('a'), 0, 1, nothing, 0, 0), 'ERR_STORE_SPACE')
    thrown(() => load.put(0, bytes('a'), 0, 2, nothing, 0, 0), 'ERR_STORE_KEY')
    thrown(() => load.put(0, bytes('a'), 0, 1, nothing, 0, 1), 'ERR_STORE_VALUE')
    load.finish(checkpointAt(9, bytes('done')))
    assert.is(textOf(store, 'a'), 'longer than before')
    assert.equal(keysOf(store), ['a'])
    assert.is(store.checkpoint?.position, 9)
    thrown(() => put('a', '3'), 'ERR_STORE_CLOSED')
    thrown(() => load.finish(checkpointAt(10)), 'ERR_STORE_CLOSED')
  })

  onStore('an abandoned bulk load keeps what it loaded and its last checkpoint', (store) => {
    const load = store.bulkLoad()
    load.put(0, bytes('a'), 0, 1, bytes('1'), 0, 1)
    load.advance(checkpointAt(1))
    load.put(0, bytes('b'), 0, 1, bytes('1'), 0, 1)
    load.abandon()
    load.abandon()
    assert.equal(keysOf(store), ['a', 'b'])
    assert.is(store.checkpoint?.position, 1)
    store.bulkLoad().abandon()
  })

  onStore('a bulk load keeps snapshots as they are', (store) => {
    put(store, 'a', 'old')
    put(store, 'b', 'old')
    store.writer().commit()
    const snapshot = store.snapshot()
    const load = store.bulkLoad()
    load.put(0, bytes('a'), 0, 1, bytes('new'), 0, 3)
    load.delete(0, bytes('b'), 0, 1)
    load.put(0, bytes('c'), 0, 1, bytes('new'), 0, 3)
    load.finish(checkpointAt(1))
    assert.equal(keysOf(snapshot), ['a', 'b'])
    assert.is(textOf(snapshot, 'a'), 'old')
    assert.equal(keysOf(store), ['a', 'c'])
    snapshot.release()
  })

  onStore('batch and bulk load exclude each other', (store) => {
    put(store, 'a', '1')
    thrown(() => store.bulkLoad(), 'ERR_STORE_BATCH')
    thrown(() => store.clear(), 'ERR_STORE_BATCH')
    store.writer().abandon()
    const load = store.bulkLoad()
    thrown(() => store.bulkLoad(), 'ERR_STORE_BATCH')
    thrown(() => put(store, 'a', '1'), 'ERR_STORE_BATCH')
    thrown(() => store.writer().commit(), 'ERR_STORE_BATCH')
    load.finish(checkpointAt(1))
    thrown(() => store.writer().commit(), 'ERR_STORE_BATCH')
    store.writer().abandon()
    put(store, 'a', '1')
    store.writer().commit()
    assert.is(textOf(store, 'a'), '1')
  })

  onStore('ordering can be done in slices, with writes between them', (store) => {
    for (let i = 0; i < 20_000; i++) put(store, `key ${(i * 7919) % 20_000}`, '1')
    store.writer().commit()
    const job = store.ordering()
    assert.ok(job !== undefined)
    let slices = 1
    while (!job.step(1000)) {
      slices += 1
      put(store, `new ${slices}`, '1')
      if (slices % 3 === 0) remove(store, `key ${slices}`)
      store.writer().commit()
    }
    assert.ok(slices > 20, `${slices} slices`)
    assert.is(store.ordering(), undefined)
    const keys = keysOf(store)
    assert.is(keys.length, store.entryCount)
    assert.equal(keys, [...keys].sort())
    assert.is(store.ordering(), undefined)
  })

  onStore('clear drops entries and checkpoint; snapshots keep theirs', (store) => {
    put(store, 'a', '1')
    store.writer().commit(checkpointAt(1))
    const snapshot = store.snapshot()
    store.clear()
    assert.is(store.entryCount, 0)
    assert.is(store.byteLength, 0)
    assert.is(store.checkpoint, undefined)
    assert.is(store.get('a'), undefined)
    assert.is(textOf(snapshot, 'a'), '1')
    assert.is(snapshot.checkpoint?.position, 1)
    put(store, 'b', '1')
    store.writer().commit()
    assert.equal(keysOf(store), ['b'])
    assert.equal(keysOf(snapshot), ['a'])
    snapshot.release()
  })

  onStore('a closed store refuses everything, and says which store', async (store) => {
    put(store, 'a', '1')
    store.writer().commit()
    const batch = store.writer()
    put(store, 'b', '1')
    const snapshot = store.snapshot()
    const iterator = store.iterate()
    const fromSnapshot = snapshot.iterate()
    await store.close()
    await store.close()
    const span = new Span()
    const uses: (() => void)[] = [
      () => store.get('a'),
      () => store.has('a'),
      () => store.getSync(0, bytes('a'), 0, 1, span),
      () => store.hasSync(0, bytes('a'), 0, 1),
      () => store.iterate(),
      () => store.entries(),
      () => store.snapshot(),
      () => store.writer(),
      () => store.bulkLoad(),
      () => store.ordering(),
      () => store.stats(),
      () => store.clear(),
      () => batch.put(0, bytes('a'), 0, 1, bytes('a'), 0, 1),
      () => batch.delete(0, bytes('a'), 0, 1),
      () => batch.commit(),
      () => snapshot.get('a'),
      () => snapshot.iterate(),
      () => iterator.next(),
      () => fromSnapshot.next(),
    ]
    for (const use of uses) assert.match(thrown(use, 'ERR_STORE_CLOSED').message, /^store group\/table\/0: /)
    batch.abandon()
    snapshot.release()
    iterator.close()
  })

  onStore('one store is open once; others beside it are independent', async (store, engine) => {
    const error = await rejects(engine.open(directory), 'ERR_STORE_LOCKED')
    assert.instance(error, StoreError)
    const names = [
      { ...directory, partition: 1 },
      { ...directory, table: '__proto__' },
      { ...directory, table: '../table' },
      { ...directory, group: 'Group' },
      { ...directory, group: 'x'.repeat(249), table: 'CON' },
    ]
    for (const other of names) {
      const second = await engine.open(other)
      put(second, 'a', 'second')
      second.writer().commit()
      assert.is(store.get('a'), undefined)
    }
    await store.close()
    const again = await engine.open(directory)
    assert.is(again.has('nothing'), false)
  })

  onStore('closing the engine closes its stores', async (store, engine) => {
    await engine.close()
    await engine.close()
    thrown(() => store.get('a'), 'ERR_STORE_CLOSED')
  })

  test.run()
}

function rest(iterator: StoreIterator): [string, string][] {
  const found: [string, string][] = []
  while (iterator.next()) found.push([iterator.key.copy().toString(), iterator.value.copy().toString()])
  return found
}

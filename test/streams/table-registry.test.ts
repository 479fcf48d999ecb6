/** The application's stores: who has them, and what happens when a partition comes back. */
import * as assert from 'uvu/assert'
import { deferred } from '../../src/base/deferred.ts'
import { MemoryEngine, type StorageEngine, type Store } from '../../src/storage/index.ts'
import type { KafkaPort } from '../../src/streams/port.ts'
import { TableRegistry } from '../../src/streams/table-registry.ts'
import { suite } from '../support/suite.ts'

const test = suite('table registry')

/** A registry whose linger timers fire when told, on an engine whose stores close when told. */
function world() {
  const timers = new Map<object, () => void>()
  const memory = new MemoryEngine()
  const closes: { release(): void }[] = []
  const engine: StorageEngine = {
    name: 'slow to close',
    async open(directory) {
      const store = await memory.open(directory)
      const close = store.close.bind(store)
      store.close = () => {
        const held = deferred()
        closes.push({ release: held.resolve })
        return held.promise.then(close)
      }
      return store
    },
    close: () => memory.close(),
    [Symbol.asyncDispose]: () => memory.close(),
  }
  const scheduler: Partial<KafkaPort['scope']['scheduler']> = {
    setTimer: (_delayMs, callback) => {
      const handle = { timer: undefined }
      timers.set(handle, callback)
      return handle
    },
    clearTimer: (handle) => void timers.delete(handle),
  }
  const kafka = { scope: { scheduler } } as KafkaPort
  const lingerEnds = (): void => {
    const due = [...timers.values()]
    timers.clear()
    for (const callback of due) callback()
  }
  return { registry: new TableRegistry(kafka, engine, 1_000), lingerEnds, closes }
}

function put(store: Store): void {
  const batch = store.writer()
  batch.put(0, Buffer.from('k'), 0, 1, Buffer.from('v'), 0, 1)
  batch.commit({ position: 7, state: Buffer.alloc(0) })
}

test('a partition that comes back in time finds its store as it was', async () => {
  const { registry, lingerEnds } = world()
  const first = await registry.acquire('g', 't', 0)
  put(first)
  registry.release('g', 't', 0)
  const second = await registry.acquire('g', 't', 0)
  assert.is(second.checkpoint?.position, 7)
  assert.equal(second.get('k'), Buffer.from('v'))
  lingerEnds()
  assert.equal(second.get('k'), Buffer.from('v'), 'the timer of the release was cleared')
})

test('a store whose time is over is closed; the next one waits for that', async () => {
  const { registry, lingerEnds, closes } = world()
  put(await registry.acquire('g', 't', 0))
  registry.release('g', 't', 0)
  lingerEnds()
  const again = registry.acquire('g', 't', 0)
  let opened = false
  void again.then(() => {
    opened = true
  })
  await new Promise((resolve) => setImmediate(resolve))
  assert.is(closes.length, 1)
  assert.is(opened, false, 'opened while the old store was open')
  closes[0]!.release()
  assert.is((await again).checkpoint, undefined)
})

test('the tables of two groups with one topic are two stores', async () => {
  const { registry } = world()
  put(await registry.acquire('g', 't', 0))
  assert.is((await registry.acquire('h', 't', 0)).entryCount, 0)
})

test.run()

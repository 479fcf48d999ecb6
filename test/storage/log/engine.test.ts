/**
 * The log engine: the contract and the model, once with everything in one memtable, once with tables all the time. Of the
 * model engine.long.test.ts does more.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { type LogEngineOptions, LogEngine, LogStore, type Store } from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { bytes, checkpointAt, put, remove, storeContract } from '../contract.ts'
import { storeModel } from '../model.ts'
import { SimFs } from '../support/sim-fs.ts'

const root = mkdtempSync(join(tmpdir(), 'millrace-log-'))
process.on('exit', () => rmSync(root, { recursive: true, force: true }))
let directories = 0

function newDir(): string {
  directories += 1
  return join(root, String(directories))
}

function open(options: Omit<LogEngineOptions, 'dir'> = {}, dir = newDir()): LogEngine {
  return new LogEngine({ dir, random: new SeededRandom(7), sync: 'never', ...options })
}

storeContract('log', async () => open())
storeModel('log', async () => open({ fs: new SimFs() }), { exactCounts: false, steps: 1000, seeds: 2 })

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
storeModel('log, 4 KiB of memory', async () => open({ writeBufferBytes: 4096, fs: new SimFs() }), {
  exactCounts: false,
  steps: 700,
  seeds: 2,
  pause: (_, random) => (random.chance(0.2) ? turn() : undefined),
})

const test = suite('log engine')
const at = { group: 'g', table: 't', partition: 0 }

function texts(store: Store): string[] {
  return [...store.entries()].map(([key, value]) => `${key.toString()}=${value.toString()}`)
}

test('what was committed is there after the store was closed and opened again', async () => {
  const dir = newDir()
  for (const flushes of [false, true]) {
    const first = open({}, dir)
    const store = await first.open(at)
    put(store, 'a', flushes ? '3' : '1')
    put(store, 'b', '2')
    store.writer().commit(checkpointAt(flushes ? 9 : 5, bytes('state')))
    put(store, 'lost', 'never committed')
    if (flushes) {
      store.writer().abandon()
      remove(store, 'b')
      store.writer().commit(checkpointAt(10, bytes('more')))
      await store.flush()
    }
    await first.close()
    const second = open({}, dir)
    const again = await second.open(at)
    assert.equal(texts(again), flushes ? ['a=3'] : ['a=1', 'b=2'])
    assert.equal(again.checkpoint, flushes ? checkpointAt(10, bytes('more')) : checkpointAt(5, bytes('state')))
    await second.close()
  }
})

test('a bulk load survives closing, without a log', async () => {
  const dir = newDir()
  const first = open({ writeBufferBytes: 16_384 }, dir)
  const store = await first.open(at)
  put(store, 'before', '1')
  store.writer().commit(checkpointAt(1))
  const load = store.bulkLoad()
  for (let i = 0; i < 2000; i++) {
    const key = bytes(`key ${i}`)
    load.put(0, key, 0, key.length, key, 0, key.length)
    if (i % 100 === 0) load.advance(checkpointAt(2 + i))
  }
  load.finish(checkpointAt(5000))
  put(store, 'after', '1')
  store.writer().commit(checkpointAt(5001))
  await first.close()
  const second = open({}, dir)
  const again = await second.open(at)
  assert.instance(again, LogStore)
  assert.is([...again.entries()].length, 2002)
  assert.is(again.get('key 1999')?.toString(), 'key 1999')
  assert.is(again.checkpoint?.position, 5001)
  await second.close()
})

test.run()

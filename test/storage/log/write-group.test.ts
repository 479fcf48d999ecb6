/** Single writes on a disk that is full: what is refused is not there, what was taken is never lost, and little is held. */
import * as assert from 'uvu/assert'
import { LogEngine, type LogStore, type StoreEvent } from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { bytes, thrown } from '../contract.ts'
import { FaultFs } from '../support/fault-fs.ts'
import { SimFs } from '../support/sim-fs.ts'

const test = suite('log engine: single writes')
const at = { group: 'g', table: 't', partition: 0 }
const value = Buffer.alloc(200, 'v')

function put(store: LogStore, i: number): void {
  const key = bytes(`key ${String(i).padStart(6, '0')}`)
  store.put(0, key, 0, key.length, value, 0, value.length)
}

const count = (store: LogStore): number => [...store.entries()].length

test('a write that a full disk refuses is not there; those before it are, and stay', async () => {
  const disk = new SimFs()
  const fault = new FaultFs(disk)
  const events: StoreEvent[] = []
  const onEvent = (event: StoreEvent): void => void events.push(event)
  const engine = new LogEngine({ dir: '/s', fs: fault, random: new SeededRandom(3), sync: 'never', onEvent })
  const store = await engine.open(at)
  put(store, 0)
  fault.fail({ kinds: ['write'], at: 1, forever: true, code: 'ENOSPC' })
  let taken = 1
  const refused = thrown(() => {
    for (; taken < 10_000; taken++) put(store, taken)
  }, 'ERR_STORE_NOSPACE')
  assert.is(refused.retriable, true)
  assert.ok(taken > 50 && taken < 400, `${taken} writes wait for the disk`)
  for (let i = 0; i < 5; i++) thrown(() => put(store, 9000 + i), 'ERR_STORE_NOSPACE')
  assert.is(count(store), taken)
  assert.is(store.has('key 009000'), false)
  await new Promise((resolve) => setImmediate(resolve))
  assert.ok(events.some((event) => event.kind === 'failed'))
  fault.heal()
  put(store, taken)
  await engine.close()
  const again = await new LogEngine({ dir: '/s', fs: disk.kill(), random: new SeededRandom(4) }).open(at)
  assert.is(count(again), taken + 1)
  await again.close()
})

test.run()

/** What a record of 108 bytes costs the whole client in allocated memory, over TCP. Counted, not timed. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import * as assert from 'uvu/assert'
import { suite } from '../support/suite.ts'
import { BoundedBroker } from '../system/bounded-broker.ts'
import type { Cost } from './allocation-worker.ts'

const test = suite('memory allocated per record', { deadlineMs: 60_000 })
const worker = join(import.meta.dirname, 'allocation-worker.js')
const flags = ['--expose-gc', '--max-semi-space-size=64', '--min-semi-space-size=64']
let broker: BoundedBroker
test.before(async () => {
  broker = await BoundedBroker.start()
})
test.after(() => broker.close())

/** Bounds are about one and a half times what was measured; of `enqueue`, 16 bytes are the number that the time is. */
const bounds: Readonly<Record<string, { readonly what: string } & Cost>> = {
  append: { what: 'sent from spans', heap: 10, buffers: 8 },
  enqueue: { what: 'sent without a promise', heap: 38, buffers: 8 },
  send: { what: 'sent with a promise of its own', heap: 860, buffers: 8 },
  cursor: { what: 'consumed over views', heap: 6, buffers: 180 },
}

for (const [way, { what, heap, buffers }] of Object.entries(bounds)) {
  test(`a record ${what} (${way}) allocates less than ${heap} bytes of objects and ${buffers} of buffers`, async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [...flags, worker, broker.brokers, way])
    const cost = JSON.parse(stdout) as Cost
    const shown = `${cost.heap.toFixed(1)} bytes of objects, ${cost.buffers.toFixed(1)} of buffers per record`
    console.log(`note: ${way}: ${shown}`)
    assert.ok(cost.heap < heap && cost.buffers < buffers, shown)
  })
}

test.run()

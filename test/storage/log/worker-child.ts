/** A process for the tests of the worker thread: flushes a store in the directory given, and closes nothing. */
import { logEngine } from '../../../src/storage/index.ts'
import { bytes, put } from '../contract.ts'

let flushed = 0
let threads = 0
process.on('worker', () => {
  threads += 1
})
const engine = logEngine({
  dir: process.argv[2]!,
  sync: 'never',
  onEvent: ({ kind }) => {
    if (kind === 'flushed') flushed += 1
  },
})
const store = await engine.open({ group: 'g', table: 't', partition: 0 })
put(store, 'key', bytes('value'))
store.writer().commit()
await store.flush()
console.log(`flushed ${flushed}, threads ${threads}`)

/**
 * A program that the storage test kills: one instance of a counting group with its table on disk. Arguments: brokers,
 * input topic, group, directory. Over IPC it tells what was restored, answers `{ get: keys }`, and ends on `close`.
 */
import { defineGroup, Millrace, stream } from '../../src/index.ts'
import { int64, string } from '../../src/streams/codecs/index.ts'

const [brokers = '', topic = '', groupName = '', dir = ''] = process.argv.slice(2)
const group = defineGroup(groupName, { table: int64 }).on(stream(topic, string), (ctx) =>
  ctx.set((ctx.get() ?? 0n) + 1n),
)

const app = new Millrace({ brokers, storage: { dir } })
const processor = app.processor(group, {
  groupInstanceId: 'one',
  sessionTimeoutMs: 6_000,
  checkpointIntervalMs: 100,
  onEvent: (event) => {
    if (event.kind === 'restored') process.send?.({ restored: event })
  },
})

process.on('message', (message: { get?: string[]; close?: true }) => {
  if (message.get !== undefined) {
    process.send?.({ values: message.get.map((key) => [key, String(processor.get(key) ?? 0n)]) })
  }
  if (message.close) void app.close().then(() => process.disconnect())
})
processor.done.catch((error: Error) => {
  process.send?.({ failed: error.message })
})
await processor.start()
process.send?.({ started: true })

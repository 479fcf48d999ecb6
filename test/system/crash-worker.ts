/**
 * A program that the crash test kills: one instance of a counting group. Arguments: brokers, input topic, group, instance
 * id, session time-out, and a directory for its tables ('': in memory). Over IPC it answers `{ get: keys }` with the values of the keys it holds, and ends on `close`.
 */
import { defineGroup, Millrace, StreamsError, stream } from '../../src/index.ts'
import { int64, string } from '../../src/streams/codecs/index.ts'

const [brokers = '', topic = '', groupName = '', groupInstanceId = '', sessionTimeoutMs = '6000', dir = ''] =
  process.argv.slice(2)
const input = stream(topic, string)
const group = defineGroup(groupName, { table: int64 }).on(input, (ctx) => ctx.set((ctx.get() ?? 0n) + 1n))

const app = new Millrace({ brokers, ...(dir === '' ? {} : { storage: { dir } }) })
const processor = app.processor(group, {
  groupInstanceId,
  sessionTimeoutMs: Number(sessionTimeoutMs),
  checkpointIntervalMs: 100,
  onEvent: (event) => {
    if (event.kind === 'foreignChangelogWrite' || event.kind === 'lost' || event.kind === 'leaseLapsed') {
      process.send?.({ event: event.kind })
    }
  },
})

process.on('message', (message: { get?: string[]; close?: true }) => {
  if (message.get !== undefined) {
    const values: [string, string][] = []
    for (const key of message.get) {
      try {
        const value = processor.get(key)
        if (value !== undefined) values.push([key, value.toString()])
      } catch (error) {
        if (!(error instanceof StreamsError) || error.code !== 'ERR_PARTITION_ELSEWHERE') throw error
      }
    }
    process.send?.({ values })
  }
  if (message.close) void app.close().then(() => process.disconnect())
})
processor.done.catch((error: Error) => {
  process.send?.({ failed: error.message })
})
await processor.start()
process.send?.({ started: true })

/**
 * Foreign writes: reads a range of a changelog that a stale instance wrote, so that its keys can be written again.
 * No state beyond a call.
 */
import type { ForeignRange } from './changelog.ts'
import type { KafkaPort } from './port.ts'

/** Calls `onKey` for every record in the range; resolves with their number. */
export async function readForeignKeys(
  kafka: KafkaPort,
  at: { readonly topic: string; readonly partition: number },
  range: ForeignRange,
  onKey: (bytes: Buffer, from: number, to: number) => void,
  signal: AbortSignal,
): Promise<number> {
  const consumer = kafka.consumer({ isolation: 'read_uncommitted', startFrom: 'earliest' })
  let keys = 0
  try {
    consumer.assign([{ ...at, offset: range.from }])
    for (;;) {
      const chunk = consumer.take()
      if (chunk === undefined) {
        await consumer.wait(signal)
        continue
      }
      const cursor = chunk.cursor()
      while (cursor.next()) {
        if (cursor.offset >= range.to || cursor.keyFrom < 0) continue
        onKey(cursor.bytes, cursor.keyFrom, cursor.keyTo)
        keys += 1
      }
      if (chunk.nextOffset >= range.to) return keys
    }
  } finally {
    await consumer.close()
  }
}

/** Where goka puts keys, written down independently of the product, and where keys really lie. */
import { Client } from '../../src/client/index.ts'

/** goka's rule, in unbounded numbers: FNV-1a of 32 bits read as signed, remainder of the dividend's sign, made positive. */
export function gokaPartition(key: string, count: number): number {
  let hash = 2_166_136_261n
  for (const byte of Buffer.from(key)) hash = ((hash ^ BigInt(byte)) * 16_777_619n) & 0xffff_ffffn
  const rest = BigInt.asIntN(32, hash) % BigInt(count)
  return Number(rest < 0n ? -rest : rest)
}

/** Partitions in which each key lies, and the last value there. */
export async function placesOf(
  brokers: string,
  topic: string,
  count: number,
): Promise<Map<string, { partitions: number[]; value: string }>> {
  await using client = new Client({ brokers: brokers })
  const all = Array.from({ length: count }, (_, partition) => ({ topic, partition }))
  const ends = await client.listOffsets(all, 'latest')
  let left = all.reduce((sum, { partition }) => sum + ends.get(topic, partition)!.offset, 0)
  const consumer = client.consumer()
  consumer.assign(all.map((at) => ({ ...at, offset: 'earliest' as const })))
  const places = new Map<string, { partitions: number[]; value: string }>()
  while (left > 0) {
    const chunk = consumer.take()
    if (chunk === undefined) {
      await consumer.wait()
      continue
    }
    for (const { key, value, partition } of chunk.records()) {
      const name = String(key)
      const partitions = places.get(name)?.partitions ?? []
      if (!partitions.includes(partition)) partitions.push(partition)
      places.set(name, { partitions, value: String(value) })
      left--
    }
  }
  return places
}

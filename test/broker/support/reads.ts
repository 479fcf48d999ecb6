/** Fetch as tests ask it, and a table of reads that holds for the embedded broker and for Apache Kafka alike. */
import { fetch } from '../../../src/protocol/api/fetch.ts'
import { BatchScanner } from '../../../src/protocol/record-view.ts'
import { batch, type RawClient } from './kit.ts'

const infinite = 0x7fffffff

export interface Ask {
  readonly offset?: number
  readonly partitions?: readonly number[]
  readonly maxBytes?: number
  readonly partitionMaxBytes?: number
  readonly minBytes?: number
  readonly maxWaitMs?: number
  readonly currentLeaderEpoch?: number
  readonly lastFetchedEpoch?: number
  readonly sessionId?: number
  readonly topic?: string
  readonly isolationLevel?: number
  readonly version?: number
}

export async function read(client: RawClient, ask: Ask = {}) {
  const answer = await client.ask(fetch, ask.version ?? 12, {
    maxWaitMs: ask.maxWaitMs ?? 0,
    minBytes: ask.minBytes ?? 1,
    maxBytes: ask.maxBytes ?? infinite,
    isolationLevel: ask.isolationLevel ?? 0,
    sessionId: ask.sessionId ?? 0,
    topics: [
      {
        topic: ask.topic ?? 't',
        partitions: (ask.partitions ?? [0]).map((partition) => ({
          partition,
          fetchOffset: ask.offset ?? 0,
          currentLeaderEpoch: ask.currentLeaderEpoch ?? -1,
          lastFetchedEpoch: ask.lastFetchedEpoch ?? -1,
          partitionMaxBytes: ask.partitionMaxBytes ?? infinite,
        })),
      },
    ],
    forgottenTopicsData: [],
  })
  const rows = answer.responses[0]?.partitions ?? []
  return { answer, rows, row: rows[0]!, offsets: rows.map((row) => offsetsOf(row.records)) }
}

export function offsetsOf(records: Buffer | null): number[] {
  const offsets: number[] = []
  const scanner = new BatchScanner(records ?? Buffer.alloc(0))
  for (let view = scanner.next(); view !== undefined; view = scanner.next()) {
    view.checkCrc()
    const cursor = view.cursor()
    while (cursor.next()) offsets.push(cursor.offset)
  }
  return offsets
}

export const one = batch(['a', 'b']).length

/** Three batches of two records: offsets 0–1, 2–3, 4–5. */
export const reads: { readonly name: string; readonly ask: Ask; readonly gets: readonly number[] | string }[] = [
  { name: 'all', ask: {}, gets: [0, 1, 2, 3, 4, 5] },
  { name: 'from inside a batch: the whole batch', ask: { offset: 3 }, gets: [2, 3, 4, 5] },
  { name: 'the end: nothing', ask: { offset: 6 }, gets: [] },
  { name: 'above the end', ask: { offset: 7 }, gets: 'OFFSET_OUT_OF_RANGE' },
  { name: 'below zero', ask: { offset: -1 }, gets: 'OFFSET_OUT_OF_RANGE' },
  { name: 'one byte: the first batch is complete all the same', ask: { partitionMaxBytes: 1 }, gets: [0, 1] },
  { name: 'one byte for the answer', ask: { maxBytes: 1 }, gets: [0, 1] },
  {
    name: 'room for two batches and a half: two',
    ask: { partitionMaxBytes: Math.trunc(one * 2.5) },
    gets: [0, 1, 2, 3],
  },
  { name: 'room for exactly two', ask: { maxBytes: one * 2 }, gets: [0, 1, 2, 3] },
  { name: 'the right epoch', ask: { currentLeaderEpoch: 0 }, gets: [0, 1, 2, 3, 4, 5] },
  { name: 'an epoch that is to come', ask: { currentLeaderEpoch: 1 }, gets: 'UNKNOWN_LEADER_EPOCH' },
  { name: 'an unknown topic', ask: { topic: 'missing' }, gets: 'UNKNOWN_TOPIC_OR_PARTITION' },
  { name: 'an unknown partition', ask: { partitions: [8] }, gets: 'UNKNOWN_TOPIC_OR_PARTITION' },
]

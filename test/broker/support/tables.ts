/**
 * Tables of requests and answers that hold for the embedded broker and for Apache Kafka alike: the broker's own tests run
 * them here, parity.kafka.test.ts on a real Kafka.
 */
import { gzipSync } from 'node:zlib'
import { encodeRecord, resealed } from '../../protocol/batches.ts'
import { batch } from './kit.ts'
import { formGroup, Member, type MemberKit, type MemberOptions } from './member.ts'

// ---- produce

const control = 1 << 5
const transactional = 1 << 4
const hour = 3_600_000

function broken(change: (bytes: Buffer) => void, seal = false): Buffer {
  const bytes = batch(['a', 'b'])
  change(bytes)
  return seal ? resealed(bytes) : bytes
}

/** A gzip batch of one record. */
function gzipped(): Buffer {
  const body = gzipSync(encodeRecord({ key: null, value: Buffer.from('zipped') }, 0))
  return batch(['x'], { body, attributes: 1 })
}

export interface Refusal {
  readonly name: string
  readonly bytes: Buffer | null
  /** The error's name, or `ok`; `any`: it may depend on what the broker can decompress. */
  readonly answer: string
}

function at(time: number): Buffer {
  return batch(['a'], { baseTimestamp: BigInt(time), maxTimestamp: BigInt(time) })
}

/** What is produced to a topic with max.message.bytes 1500, and what the broker says. `now`: its clock. */
export function refusals(now: number): readonly Refusal[] {
  return [
    { name: 'a good batch', bytes: batch(['a', 'b']), answer: 'ok' },
    { name: 'a gzip batch', bytes: gzipped(), answer: 'ok' },
    {
      name: 'a zstd batch with Produce v9',
      bytes: batch(['x'], { body: Buffer.from('28b52ffd0000010000', 'hex'), attributes: 4 }),
      answer: 'any',
    },
    { name: 'null records', bytes: null, answer: 'INVALID_RECORD' },
    { name: 'no batch', bytes: Buffer.alloc(0), answer: 'INVALID_RECORD' },
    { name: 'a cut batch', bytes: batch(['a', 'b']).subarray(0, 70), answer: 'INVALID_RECORD' },
    { name: 'two batches', bytes: Buffer.concat([batch(['a']), batch(['b'])]), answer: 'INVALID_RECORD' },
    { name: 'magic 1', bytes: broken((b) => void b.writeInt8(1, 16)), answer: 'INVALID_RECORD' },
    { name: 'a wrong checksum', bytes: broken((b) => void b.writeInt8(7, b.length - 3)), answer: 'CORRUPT_MESSAGE' },
    { name: 'a control bit', bytes: batch(['a'], { attributes: control }), answer: 'INVALID_RECORD' },
    {
      name: 'a transactional bit without producer',
      bytes: batch(['a'], { attributes: transactional }),
      answer: 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED',
    },
    {
      name: 'a transactional batch',
      bytes: batch(['a'], { attributes: transactional, producerId: 1n, producerEpoch: 0, baseSequence: 0 }),
      answer: 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED',
    },
    { name: 'more records than offsets', bytes: batch(['a', 'b'], { lastOffsetDelta: 0 }), answer: 'INVALID_RECORD' },
    { name: 'fewer records than offsets', bytes: batch(['a', 'b'], { lastOffsetDelta: 2 }), answer: 'INVALID_RECORD' },
    {
      name: 'a count above the records',
      bytes: batch(['a'], { count: 2, lastOffsetDelta: 1 }),
      answer: 'INVALID_RECORD',
    },
    { name: 'no records', bytes: batch([]), answer: 'INVALID_RECORD' },
    {
      name: 'more than an hour ahead',
      bytes: at(now + hour * 2),
      answer: 'INVALID_TIMESTAMP',
    },
    {
      name: 'half an hour ahead',
      bytes: at(now + hour / 2),
      answer: 'ok',
    },
    { name: 'above max.message.bytes', bytes: batch(['x'.repeat(2000)]), answer: 'MESSAGE_TOO_LARGE' },
  ]
}

// ---- idempotent producers

const max = 0x7fff_ffff

/** Producer, epoch, first sequence, count → what happens. A number is the base offset of the answer. */
export type Step = readonly [
  producer: number,
  epoch: number,
  sequence: number,
  count: number,
  expected: number | string,
]

export const idempotence: { readonly name: string; readonly steps: readonly Step[] }[] = [
  {
    name: 'in order',
    steps: [
      [1, 0, 0, 2, 0],
      [1, 0, 2, 1, 2],
      [1, 0, 3, 3, 3],
    ],
  },
  {
    name: 'a retry gets its first offset',
    steps: [
      [1, 0, 0, 2, 0],
      [1, 0, 0, 2, 0],
      [1, 0, 2, 1, 2],
      [1, 0, 0, 2, 0],
    ],
  },
  {
    name: 'the last five batches are remembered, the sixth is out of order',
    steps: [
      [1, 0, 0, 1, 0],
      [1, 0, 1, 1, 1],
      [1, 0, 2, 1, 2],
      [1, 0, 3, 1, 3],
      [1, 0, 4, 1, 4],
      [1, 0, 5, 1, 5],
      [1, 0, 1, 1, 1],
      [1, 0, 5, 1, 5],
      [1, 0, 0, 1, 'OUT_OF_ORDER_SEQUENCE_NUMBER'],
    ],
  },
  {
    name: 'a gap',
    steps: [
      [1, 0, 0, 2, 0],
      [1, 0, 3, 1, 'OUT_OF_ORDER_SEQUENCE_NUMBER'],
      [1, 0, 2, 1, 2],
    ],
  },
  {
    name: 'the same first sequence with another count is no duplicate',
    steps: [
      [1, 0, 0, 2, 0],
      [1, 0, 0, 1, 'OUT_OF_ORDER_SEQUENCE_NUMBER'],
    ],
  },
  {
    name: 'an unknown producer may begin anywhere',
    steps: [
      [7, 3, 40, 2, 0],
      [7, 3, 42, 1, 2],
    ],
  },
  {
    name: 'a new epoch begins with 0',
    steps: [
      [1, 0, 0, 2, 0],
      [1, 1, 2, 1, 'OUT_OF_ORDER_SEQUENCE_NUMBER'],
      [1, 1, 0, 1, 2],
      [1, 1, 1, 1, 3],
    ],
  },
  {
    name: 'an old epoch is fenced',
    steps: [
      [1, 4, 0, 1, 0],
      [1, 3, 1, 1, 'INVALID_PRODUCER_EPOCH'],
      [1, 4, 1, 1, 1],
    ],
  },
  {
    name: 'a duplicate of an older epoch is fenced, not answered',
    steps: [
      [1, 0, 0, 1, 0],
      [1, 1, 0, 1, 1],
      [1, 0, 0, 1, 'INVALID_PRODUCER_EPOCH'],
    ],
  },
  {
    name: 'producers do not disturb each other',
    steps: [
      [1, 0, 0, 1, 0],
      [2, 0, 0, 1, 1],
      [1, 0, 1, 1, 2],
      [2, 0, 1, 1, 3],
    ],
  },
  {
    name: 'sequences wrap',
    steps: [
      [1, 0, max - 1, 2, 0],
      [1, 0, 0, 1, 2],
      [1, 0, max - 1, 2, 0],
    ],
  },
  {
    name: 'a batch across the wrap',
    steps: [
      [1, 0, max, 3, 0],
      [1, 0, 2, 1, 3],
      [1, 0, max, 3, 0],
    ],
  },
]

// ---- groups: every request in every phase

export interface Phase {
  readonly name: string
  /** Brings the group of `a` into the phase. */
  reach(kit: MemberKit, a: Member): Promise<void>
}

export const phases: readonly Phase[] = [
  { name: 'no group', reach: async () => {} },
  {
    name: 'Empty',
    reach: async (_kit, a) => {
      await formGroup(a)
      await a.leave()
      a.memberId = 'gone'
      a.generation = 2
    },
  },
  {
    name: 'PreparingRebalance',
    reach: async (kit, a) => {
      await formGroup(a)
      void (await Member.create(kit, 'late', a.options)).join().catch(() => {})
      await kit.sleep(50)
    },
  },
  { name: 'CompletingRebalance', reach: async (_kit, a) => void (await a.join()) },
  { name: 'Stable', reach: (_kit, a) => formGroup(a) },
]

export const verbs: Record<string, (a: Member) => Promise<string | number>> = {
  heartbeat: (a) => a.heartbeat(),
  'heartbeat of an older generation': (a) => a.heartbeat({ generation: a.generation - 1 }),
  'heartbeat of a stranger': (a) => a.heartbeat({ memberId: 'stranger' }),
  'sync of an older generation': (a) => a.sync({ generation: a.generation - 1 }),
  'sync with another protocol': (a) => a.sync({ protocolName: 'other' }),
  commit: (a) => a.commit(7),
  'commit of an older generation': (a) => a.commit(7, { generation: a.generation - 1 }),
  'commit of a stranger': (a) => a.commit(7, { memberId: 'stranger' }),
  'commit without group': (a) => a.commit(7, { generation: -1, memberId: '' }),
  committed: (a) => a.committed(),
}

const U = 'UNKNOWN_MEMBER_ID'
const G = 'ILLEGAL_GENERATION'
const R = 'REBALANCE_IN_PROGRESS'
const P = 'INCONSISTENT_GROUP_PROTOCOL'
/** Columns: the phases above, in their order. `a` has generation -1 where there is no group. */
export const answers: Record<string, readonly (string | number)[]> = {
  heartbeat: [U, U, R, 'ok', 'ok'],
  'heartbeat of an older generation': [U, U, G, G, G],
  'heartbeat of a stranger': [U, U, U, U, U],
  'sync of an older generation': [U, U, G, G, G],
  'sync with another protocol': [U, U, P, P, P],
  commit: ['ok', U, 'ok', R, 'ok'],
  'commit of an older generation': ['ok', U, G, G, G],
  'commit of a stranger': ['ok', U, U, U, U],
  'commit without group': ['ok', 'ok', U, U, U],
  committed: [-1, -1, -1, -1, -1],
}

export const joins: readonly {
  readonly name: string
  readonly options: MemberOptions
  readonly memberId?: string
  readonly answer: string
}[] = [
  { name: 'an empty group id', options: { group: '' }, answer: 'INVALID_GROUP_ID' },
  { name: 'a session below the minimum', options: { sessionTimeoutMs: 5_999 }, answer: 'INVALID_SESSION_TIMEOUT' },
  { name: 'a session above the maximum', options: { sessionTimeoutMs: 1_800_001 }, answer: 'INVALID_SESSION_TIMEOUT' },
  { name: 'an id the group does not know', options: {}, memberId: 'stranger', answer: U },
  {
    name: 'an instance id with a foreign member id',
    options: { instanceId: 'host-1' },
    memberId: 'stranger',
    answer: U,
  },
  { name: 'no protocol type', options: { protocolType: '' }, answer: P },
]

// ---- topics

export interface Asked {
  readonly name: string
  readonly numPartitions?: number
  readonly replicationFactor?: number
  readonly configs?: readonly { name: string; value: string | null }[]
  readonly assignments?: readonly { partitionIndex: number; brokerIds: readonly number[] }[]
}

export const longest = 'x'.repeat(249)
/** Topics and what creating them says, on two nodes that have `taken` and `two.parts`, with 4 partitions by default. */
export const creations: readonly { readonly topic: Asked; readonly answer: string; readonly partitions?: number }[] = [
  { topic: { name: 'fine' }, answer: 'ok', partitions: 1 },
  { topic: { name: 'with.dots_and-dashes' }, answer: 'ok', partitions: 1 },
  { topic: { name: longest, numPartitions: 3 }, answer: 'ok', partitions: 3 },
  { topic: { name: '__proto__' }, answer: 'ok', partitions: 1 },
  { topic: { name: 'constructor' }, answer: 'ok', partitions: 1 },
  { topic: { name: 'CON' }, answer: 'ok', partitions: 1 },
  { topic: { name: `${longest}x` }, answer: 'INVALID_TOPIC_EXCEPTION' },
  { topic: { name: '' }, answer: 'INVALID_TOPIC_EXCEPTION' },
  { topic: { name: '.' }, answer: 'INVALID_TOPIC_EXCEPTION' },
  { topic: { name: '..' }, answer: 'INVALID_TOPIC_EXCEPTION' },
  { topic: { name: 'a/b' }, answer: 'INVALID_TOPIC_EXCEPTION' },
  { topic: { name: 'ümlaut' }, answer: 'INVALID_TOPIC_EXCEPTION' },
  { topic: { name: 'taken' }, answer: 'TOPIC_ALREADY_EXISTS' },
  { topic: { name: 'two_parts' }, answer: 'INVALID_TOPIC_EXCEPTION' }, // two.parts exists
  { topic: { name: '__consumer_offsets' }, answer: 'INVALID_TOPIC_EXCEPTION' },
  { topic: { name: 'd', numPartitions: -1 }, answer: 'ok', partitions: 4 },
  { topic: { name: 'd', numPartitions: 0 }, answer: 'INVALID_PARTITIONS' },
  { topic: { name: 'd', numPartitions: -2 }, answer: 'INVALID_PARTITIONS' },
  { topic: { name: 'd', numPartitions: 0x7fffffff }, answer: 'POLICY_VIOLATION' },
  { topic: { name: 'd', replicationFactor: 1 }, answer: 'ok', partitions: 1 },
  { topic: { name: 'd', replicationFactor: 2 }, answer: 'ok', partitions: 1 },
  { topic: { name: 'd', replicationFactor: 3 }, answer: 'INVALID_REPLICATION_FACTOR' },
  { topic: { name: 'd', replicationFactor: 0 }, answer: 'INVALID_REPLICATION_FACTOR' },
  {
    topic: {
      name: 'd',
      numPartitions: -1,
      assignments: [
        { partitionIndex: 0, brokerIds: [2] },
        { partitionIndex: 1, brokerIds: [1] },
      ],
    },
    answer: 'ok',
    partitions: 2,
  },
  {
    topic: { name: 'd', numPartitions: -1, assignments: [{ partitionIndex: 0, brokerIds: [3] }] },
    answer: 'INVALID_REPLICA_ASSIGNMENT',
  },
  {
    topic: { name: 'd', numPartitions: -1, assignments: [{ partitionIndex: 1, brokerIds: [1] }] },
    answer: 'INVALID_REPLICA_ASSIGNMENT',
  },
  {
    topic: { name: 'd', numPartitions: 1, assignments: [{ partitionIndex: 0, brokerIds: [1] }] },
    answer: 'INVALID_REQUEST',
  },
  { topic: { name: 'd', configs: [{ name: 'cleanup.policy', value: 'compact' }] }, answer: 'ok', partitions: 1 },
  { topic: { name: 'd', configs: [{ name: 'cleanup.policy', value: 'compact,delete' }] }, answer: 'ok', partitions: 1 },
  { topic: { name: 'd', configs: [{ name: 'cleanup.policy', value: 'none' }] }, answer: 'INVALID_CONFIG' },
  { topic: { name: 'd', configs: [{ name: 'no.such.setting', value: '1' }] }, answer: 'INVALID_CONFIG' },
  { topic: { name: 'd', configs: [{ name: '__proto__', value: '1' }] }, answer: 'INVALID_CONFIG' },
  { topic: { name: 'd', configs: [{ name: 'retention.ms', value: '1h' }] }, answer: 'INVALID_CONFIG' },
  { topic: { name: 'd', configs: [{ name: 'retention.ms', value: '-2' }] }, answer: 'INVALID_CONFIG' },
  { topic: { name: 'd', configs: [{ name: 'retention.ms', value: null }] }, answer: 'INVALID_CONFIG' },
  { topic: { name: 'd', configs: [{ name: 'min.cleanable.dirty.ratio', value: '0.1' }] }, answer: 'ok', partitions: 1 },
]

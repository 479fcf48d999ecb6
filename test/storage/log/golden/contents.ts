/** What is in the golden store of format version 1. It is never changed: another version gets contents of its own. Stateless. */
import { maxCheckpointStateBytes } from '../../../../src/storage/index.ts'
import { SeededRandom } from '../../../sim/random.ts'

/** An entry; without a value the key is deleted. */
export interface GoldenEntry {
  readonly space: number
  readonly key: Buffer
  readonly value: Buffer | undefined
}

/** A batch, or the word that what is there becomes a table. */
export type GoldenStep =
  | {
      readonly entries: readonly GoldenEntry[]
      readonly checkpoint?: { readonly position: number; readonly state: Buffer }
    }
  | 'flush'
  /** The memtable is frozen; its log stays. */
  | 'freeze'

function entry(space: number, key: string | Buffer, value?: string | Buffer): GoldenEntry {
  return { space, key: Buffer.from(key), value: value === undefined ? undefined : Buffer.from(value) }
}

/** The life of the store. */
export function goldenSteps(): GoldenStep[] {
  const random = new SeededRandom(1)
  const many = Array.from({ length: 400 }, (_, i) =>
    entry(0, `user-${String(i).padStart(5, '0')}`, random.bytes(random.int(120))),
  )
  return [
    {
      entries: [
        entry(0, '', 'the empty key'),
        entry(0, 'empty value', ''),
        entry(0, Buffer.from([0x00]), 'zero'),
        entry(0, Buffer.from([0xff, 0xfe]), 'no UTF-8'),
        entry(0, 'größe 😀', 'UTF-8'),
        entry(0, Buffer.alloc(1000, 'k'), 'a long key'),
        entry(0, 'checked by CRC', random.bytes(5000)),
        entry(0, 'longer than a span', random.bytes(40_000)),
        entry(1, 'timer', 'in another space'),
        entry(15, 'user-00007', 'in the last space'),
      ],
      checkpoint: { position: 0, state: Buffer.alloc(0) },
    },
    { entries: many, checkpoint: { position: 400, state: Buffer.from('first table') } },
    'flush',
    { entries: [entry(0, 'user-00003'), entry(0, 'user-00399'), entry(0, 'never there')] },
    {
      entries: [entry(0, 'user-00005', 'five'), entry(1, 'timer')],
      checkpoint: { position: 2 ** 40, state: random.bytes(9) },
    },
    'flush',
    { entries: [entry(0, 'in the older log', 'yes'), entry(0, 'user-00008')] },
    { entries: [], checkpoint: { position: Number.MAX_SAFE_INTEGER, state: random.bytes(maxCheckpointStateBytes) } },
    'freeze',
    { entries: [entry(0, 'user-00003', 'three again'), entry(0, 'user-00003', 'and again')] },
    {
      entries: [entry(15, '', ''), entry(0, 'in the newer log', 'yes')],
      checkpoint: { position: 500, state: Buffer.from('last') },
    },
  ]
}

/** What the store holds after all of it, by space and key in hex. */
export function goldenEntries(): Map<string, Buffer> {
  const entries = new Map<string, Buffer>()
  for (const step of goldenSteps()) {
    if (typeof step === 'string') continue
    for (const { space, key, value } of step.entries) {
      const id = goldenId(space, key)
      if (value === undefined) entries.delete(id)
      else entries.set(id, value)
    }
  }
  return entries
}

export function goldenId(space: number, key: Buffer): string {
  return `${space}:${key.toString('hex')}`
}

/**
 * Changelog: the writes of one task's table to its topic partition, and what their acknowledgements tell: where the
 * changelog stands, and whether somebody else wrote to it. Only the task of the partition writes there; a delivered batch
 * that does not begin where the last one ended means a stale instance did too (it could not be fenced: produced records
 * are not), and what it wrote must be written over. Until that is acknowledged the store does not have what lies there,
 * so its position stays in front of it.
 * Owner of the expected offset and of the foreign ranges: this object; the checkpoint reads `storePosition`.
 */
import type { MillraceError } from '../base/errors.ts'
import type { DeliveryObserver, ProducerPort } from './port.ts'

/** Offsets [from, to) of a changelog that this instance did not write. */
export interface ForeignRange {
  readonly from: number
  readonly to: number
}

interface Unrepaired extends ForeignRange {
  /** found → its keys are dirty again → they are in the checkpoint under way; when that is acknowledged it is repaired. */
  stage: 'found' | 'dirty' | 'cut'
}

export class Changelog implements DeliveryObserver {
  readonly topic: string
  readonly partition: number
  pending = 0
  failure: MillraceError | undefined
  /** The offset behind the last acknowledged record of ours. */
  position: number
  /** Leader epoch of the last record known, −1 unknown. */
  leaderEpoch: number
  readonly #unrepaired: Unrepaired[] = []
  readonly #producer: ProducerPort
  readonly #changed: () => void
  readonly #foreign: (range: ForeignRange) => void

  constructor(
    at: { topic: string; partition: number; position: number; leaderEpoch: number },
    producer: ProducerPort,
    changed: () => void,
    foreign: (range: ForeignRange) => void,
  ) {
    this.topic = at.topic
    this.partition = at.partition
    this.position = at.position
    this.leaderEpoch = at.leaderEpoch
    this.#producer = producer
    this.#changed = changed
    this.#foreign = foreign
  }

  /** Sends one changelog record, always to the task's own partition. `valueFrom` < 0: a deletion. False: producer full. */
  append(
    timestamp: number,
    keys: Buffer,
    keyFrom: number,
    keyTo: number,
    values: Buffer,
    valueFrom: number,
    valueTo: number,
  ): boolean {
    const deleted = valueFrom < 0
    const room = this.#producer.append(
      this.topic,
      this.partition,
      timestamp,
      keys,
      keyFrom,
      keyTo,
      deleted ? null : values,
      deleted ? 0 : valueFrom,
      deleted ? 0 : valueTo,
      undefined,
      this,
    )
    // Behind the call: a record that is too large for any request throws and never becomes pending.
    this.pending += 1
    return room
  }

  /** Nothing that somebody else wrote waits to be written over. */
  get repaired(): boolean {
    return this.#unrepaired.length === 0
  }

  /** The keys of a foreign range were marked to be written again. */
  reasserted(range: ForeignRange): void {
    const one = this.#unrepaired.find(({ from }) => from === range.from)
    if (one !== undefined) one.stage = 'dirty'
  }

  /** A checkpoint begins: it will write what is dirty now. */
  cut(): void {
    for (const one of this.#unrepaired) if (one.stage === 'dirty') one.stage = 'cut'
  }

  /** What the store has, once the checkpoint whose writes were all acknowledged is applied to it. */
  storePosition(): number {
    while (this.#unrepaired[0]?.stage === 'cut') this.#unrepaired.shift()
    return this.#unrepaired[0]?.from ?? this.position
  }

  /** The log ends there, while nothing of ours is on its way. */
  endsAt(offset: number): void {
    if (offset <= this.position) return
    this.#found({ from: this.position, to: offset })
    this.position = offset
  }

  delivered(_topic: string, _partition: number, baseOffset: number, count: number, leaderEpoch: number): void {
    if (leaderEpoch > this.leaderEpoch) this.leaderEpoch = leaderEpoch
    if (baseOffset > this.position) this.#found({ from: this.position, to: baseOffset })
    // A duplicate that the broker recognised may come without an offset (−1): its records lie where they were first put.
    this.position = baseOffset < 0 ? this.position + count : Math.max(this.position, baseOffset + count)
    this.pending -= count
    if (this.pending === 0) this.#changed()
  }

  failed(error: MillraceError, _topic: string, _partition: number, count: number): void {
    this.pending -= count
    this.failure ??= error
    this.#changed()
  }

  #found(range: ForeignRange): void {
    this.#unrepaired.push({ ...range, stage: 'found' })
    this.#foreign(range)
  }
}

/**
 * Producer state of one partition: what the broker remembers of idempotent producers to refuse duplicates, gaps and
 * fenced epochs. Rules and limits are Kafka's (five batches per producer).
 * Owns   the entries. `check` never changes anything; `record` is called once the batch is in the log.
 */
import { errorCodes } from '../protocol/errors.ts'

const rememberedBatches = 5
const sequenceMax = 0x7fff_ffff

interface Remembered {
  readonly firstSequence: number
  readonly lastSequence: number
  readonly baseOffset: number
  readonly timestamp: number
}

interface Entry {
  epoch: number
  /** Oldest first, at most five. */
  batches: Remembered[]
}

/** What to do with a batch: append it, answer the offset it had the first time, or refuse it. */
export type SequenceVerdict =
  | { readonly is: 'new' }
  | { readonly is: 'duplicate'; readonly baseOffset: number; readonly timestamp: number }
  | { readonly is: 'refused'; readonly errorCode: number; readonly message: string }

const fresh: SequenceVerdict = { is: 'new' }

/** `sequence` moved on by `count`, wrapping from 2^31 − 1 to 0. */
export function addSequence(sequence: number, count: number): number {
  return sequence > sequenceMax - count ? count - (sequenceMax - sequence) - 1 : sequence + count
}

export class ProducerState {
  readonly #entries = new Map<number, Entry>()
  readonly #maxProducers: number

  constructor(maxProducers: number) {
    this.#maxProducers = maxProducers
  }

  get size(): number {
    return this.#entries.size
  }

  check(producerId: number, epoch: number, firstSequence: number, count: number): SequenceVerdict {
    const entry = this.#entries.get(producerId)
    // a producer nobody remembers (new, or forgotten with its records) may begin anywhere
    if (entry === undefined) return fresh
    if (epoch < entry.epoch) {
      return {
        is: 'refused',
        errorCode: errorCodes.INVALID_PRODUCER_EPOCH,
        message: `epoch ${epoch} of producer ${producerId} is older than the last seen, ${entry.epoch}`,
      }
    }
    if (epoch > entry.epoch) {
      return firstSequence === 0
        ? fresh
        : refuseOrder(producerId, `a new epoch ${epoch} begins with sequence ${firstSequence}, not 0`)
    }
    const lastSequence = addSequence(firstSequence, count - 1)
    for (const batch of entry.batches) {
      if (batch.firstSequence === firstSequence && batch.lastSequence === lastSequence) {
        return { is: 'duplicate', baseOffset: batch.baseOffset, timestamp: batch.timestamp }
      }
    }
    const last = entry.batches[entry.batches.length - 1]
    if (last === undefined || addSequence(last.lastSequence, 1) === firstSequence) return fresh
    return refuseOrder(producerId, `sequence ${firstSequence} does not follow ${last.lastSequence} in epoch ${epoch}`)
  }

  /** Remembers a batch that was appended. */
  record(
    producerId: number,
    epoch: number,
    firstSequence: number,
    count: number,
    baseOffset: number,
    timestamp: number,
  ): void {
    const known = this.#entries.get(producerId)
    const entry = known ?? { epoch, batches: [] }
    if (entry.epoch !== epoch) {
      entry.epoch = epoch
      entry.batches = []
    }
    entry.batches.push({ firstSequence, lastSequence: addSequence(firstSequence, count - 1), baseOffset, timestamp })
    if (entry.batches.length > rememberedBatches) entry.batches.shift()
    if (known !== undefined) this.#entries.delete(producerId) // to the end: the idle longest come first
    this.#entries.set(producerId, entry)
    if (this.#entries.size > this.#maxProducers) {
      const idle = this.#entries.keys().next()
      if (idle.done !== true) this.#entries.delete(idle.value)
    }
  }
}

function refuseOrder(producerId: number, why: string): SequenceVerdict {
  return {
    is: 'refused',
    errorCode: errorCodes.OUT_OF_ORDER_SEQUENCE_NUMBER,
    message: `out of order sequence of producer ${producerId}: ${why}`,
  }
}

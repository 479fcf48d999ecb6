/**
 * Sends: how many records of one generation are on their way, and whether any was lost for good. It is the observer that
 * a task hands to the producer; a generation may be committed only when `pending` is zero and nothing failed.
 * Owner: the task's checkpoint; `largest` is written by the context that sends.
 */
import type { MillraceError } from '../base/errors.ts'
import type { DeliveryObserver } from './port.ts'

export class Sends implements DeliveryObserver {
  pending = 0
  /** The largest record of the generation: who made it, for the message when a broker finds it too large. */
  readonly largest = { bytes: -1, topic: '', input: -1, offset: -1, key: undefined as unknown }
  failure: MillraceError | undefined
  readonly #changed: () => void

  /** `changed` is called when nothing is pending any more, and at each failure. */
  constructor(changed: () => void) {
    this.#changed = changed
  }

  delivered(_topic: string, _partition: number, _baseOffset: number, count: number, _leaderEpoch: number): void {
    this.pending -= count
    if (this.pending === 0) this.#changed()
  }

  failed(error: MillraceError, _topic: string, _partition: number, count: number): void {
    this.pending -= count
    this.failure ??= error
    this.#changed()
  }
}

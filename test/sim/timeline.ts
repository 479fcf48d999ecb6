/**
 * Timeline: virtual time and the events on it. Owns the heap. Events due at the same time come in a seeded order, so that
 * no code can rely on an order that the real event loop does not promise.
 */
import type { SeededRandom } from './random.ts'

/** Who an event belongs to: it is asked before the event runs. */
export interface EventOwner {
  readonly name: string
  /** `run`: now. `drop`: never (killed). A number: not before that time (stalled). */
  admit(now: number): 'run' | 'drop' | number
}

export interface SimEvent {
  at: number
  readonly tie: number
  readonly sequence: number
  readonly owner: EventOwner
  readonly kind: 'timer' | 'immediate' | 'input'
  /** Undefined: cancelled or done. */
  callback: (() => void) | undefined
}

/** What each event costs: time moves, so that nothing can go round at one instant for ever. Milliseconds. */
const eventCostMs = 0.001

export class Timeline {
  /** Milliseconds since the world began. */
  now = 0
  /** Events that have run. */
  count = 0
  /** Fingerprint of everything that ran and when: equal for equal seeds. */
  digest = 0
  #sequence = 0
  readonly #heap: SimEvent[] = []
  readonly #random: SeededRandom

  constructor(random: SeededRandom) {
    this.#random = random
  }

  get pending(): number {
    return this.#heap.length
  }

  schedule(owner: EventOwner, kind: SimEvent['kind'], delayMs: number, callback: () => void): SimEvent {
    const at = this.now + Math.max(0, delayMs)
    const event: SimEvent = { at, tie: this.#random.uint32(), sequence: this.#sequence++, owner, kind, callback }
    this.#push(event)
    return event
  }

  /** Takes the next event that may run off the heap, moves time to it and runs it. False: nothing is left. */
  step(): SimEvent | undefined {
    for (let event = this.#pop(); event !== undefined; event = this.#pop()) {
      const callback = event.callback
      if (callback === undefined) continue
      const verdict = event.owner.admit(Math.max(this.now, event.at))
      if (verdict === 'drop') continue
      if (verdict !== 'run') {
        event.at = verdict
        this.#push(event)
        continue
      }
      if (event.at > this.now) this.now = event.at
      this.now += eventCostMs
      this.count += 1
      this.digest =
        (Math.imul(this.digest, 31) + event.sequence + event.owner.name.length * 7 + Math.round(event.at)) | 0
      event.callback = undefined
      callback()
      return event
    }
    return undefined
  }

  #push(event: SimEvent): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(event)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(event, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = event
  }

  #pop(): SimEvent | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    let at = 0
    for (;;) {
      let child = at * 2 + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child += 1
      if (!before(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
    return first
  }
}

function before(a: SimEvent, b: SimEvent): boolean {
  if (a.at !== b.at) return a.at < b.at
  return a.tie !== b.tie ? a.tie < b.tie : a.sequence < b.sequence
}

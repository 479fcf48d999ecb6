/**
 * Pump: one worker that events only poke. Never two steps at once, never a lost wake-up, no work while idle.
 * The step looks at the whole state of its owner and does what is possible now (idea: franz-go's workLoop).
 */
export class Pump {
  #running = false
  #again = false
  readonly #step: () => Promise<void> | void
  readonly #crash: (cause: unknown) => void

  /** `crash` gets whatever a step throws: a step handles its own errors, so this is a bug and must be loud. */
  constructor(step: () => Promise<void> | void, crash: (cause: unknown) => void) {
    this.#step = step
    this.#crash = crash
  }

  /** Asks for a step: at the end of this turn, or right after the one that is running. */
  poke(): void {
    this.#again = true
    if (this.#running) return
    this.#running = true
    queueMicrotask(() => void this.#run())
  }

  async #run(): Promise<void> {
    try {
      while (this.#again) {
        this.#again = false
        const pending = this.#step()
        if (pending !== undefined) await pending
      }
    } catch (cause) {
      this.#crash(cause)
    } finally {
      this.#running = false
    }
  }
}

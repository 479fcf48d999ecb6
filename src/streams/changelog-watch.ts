/**
 * ChangelogWatch: looks now and then whether the changelogs of idle tasks have grown. A task that writes notices foreign
 * records by the offsets of its own; one that has nothing to write would never learn that a stale instance's last batch,
 * held up on the wire, has overwritten what it had written.
 * Owner of one timer; what it finds is the changelog's to handle.
 */
import type { Scheduler, TimerHandle } from '../base/scope.ts'
import type { Changelog } from './changelog.ts'
import type { TopicPartition } from './port.ts'

export interface ChangelogWatchHost {
  readonly scheduler: Scheduler
  readonly intervalMs: number
  /** The changelogs of the tasks that run now. */
  changelogs(): Iterable<Changelog>
  /** The ends of the logs, in the order asked. */
  ends(partitions: readonly TopicPartition[], signal?: AbortSignal): Promise<readonly number[]>
  /** A look failed for good. */
  failed(cause: unknown): void
}

export class ChangelogWatch {
  readonly #host: ChangelogWatchHost
  #timer: TimerHandle | undefined
  #stopped = false

  constructor(host: ChangelogWatchHost) {
    this.#host = host
    this.#arm()
  }

  stop(): void {
    this.#stopped = true
    if (this.#timer !== undefined) this.#host.scheduler.clearTimer(this.#timer)
  }

  /** Looks at these now, as far as nothing of them is on its way. */
  async look(changelogs: Iterable<Changelog>, signal?: AbortSignal): Promise<void> {
    const idle: { changelog: Changelog; position: number }[] = []
    for (const changelog of changelogs) {
      if (changelog.pending === 0) idle.push({ changelog, position: changelog.position })
    }
    if (idle.length === 0) return
    const ends = await this.#host.ends(
      idle.map(({ changelog }) => changelog),
      signal,
    )
    for (const [i, { changelog, position }] of idle.entries()) {
      // Own writes since then tell by themselves.
      if (changelog.pending === 0 && changelog.position === position) changelog.endsAt(ends[i] ?? 0)
    }
  }

  #arm(): void {
    const { scheduler, intervalMs, failed } = this.#host
    this.#timer = scheduler.setTimer(intervalMs, () => {
      this.look(this.#host.changelogs()).then(
        () => {
          if (!this.#stopped) this.#arm()
        },
        (cause: unknown) => {
          if (!this.#stopped) failed(cause)
        },
      )
    })
  }
}

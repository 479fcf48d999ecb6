/**
 * Identity: the producer id that makes retries harmless. Owns the id and the asking for it (lazy, retried for ever:
 * each batch has its own deadline). Epochs count per partition and belong to PartitionQueue: a producer without
 * transactions raises them itself (KIP-360), as brokers hand out a fresh id to whoever asks with a null transactional id.
 */
import { Backoff } from '../../base/backoff.ts'
import { MillraceError } from '../../base/errors.ts'
import type { TimerHandle } from '../../base/scope.ts'
import { initProducerId } from '../../protocol/api/init-producer-id.ts'
import { BrokerError } from '../../protocol/errors.ts'
import type { BrokerLinks } from '../broker-link.ts'
import { FatalProducerError, fatalProducerCodes } from './errors.ts'

export type IdentityState =
  | { readonly at: 'none' }
  | { readonly at: 'asking' }
  | { readonly at: 'ready'; readonly producerId: number; readonly epoch: number }
  | { readonly at: 'over' }

/** The highest epoch there is; after it comes a new id. */
const lastEpoch = 32_766

export class ProducerIdentity {
  #state: IdentityState = { at: 'none' }
  readonly #links: BrokerLinks
  readonly #backoff: Backoff
  readonly #onReady: () => void
  readonly #onFatal: (error: MillraceError) => void
  #timer: TimerHandle | undefined

  constructor(
    links: BrokerLinks,
    backoff: { readonly retryBackoffMs: number; readonly retryBackoffMaxMs: number },
    onReady: () => void,
    onFatal: (error: MillraceError) => void,
  ) {
    this.#links = links
    this.#backoff = new Backoff(links.scope.random, backoff.retryBackoffMs, backoff.retryBackoffMaxMs)
    this.#onReady = onReady
    this.#onFatal = onFatal
  }

  get state(): IdentityState {
    return this.#state
  }

  /** Whether batches may be stamped; asks for an id when there is none. */
  get isReady(): boolean {
    if (this.#state.at === 'none') this.#ask()
    return this.#state.at === 'ready'
  }

  /** Whether a partition at `epoch` of `producerId` may go on with the next epoch. If not, a new id is asked for. */
  canRaise(producerId: number, epoch: number): boolean {
    if (epoch < lastEpoch) return true
    if (this.#state.at === 'ready' && this.#state.producerId === producerId) this.#state = { at: 'none' }
    return false
  }

  close(): void {
    this.#state = { at: 'over' }
    if (this.#timer !== undefined) this.#links.scope.scheduler.clearTimer(this.#timer)
  }

  #ask(): void {
    this.#state = { at: 'asking' }
    const input = { transactionalId: null, transactionTimeoutMs: 60_000 }
    this.#links
      .any(initProducerId, input, { lane: 'control', timeoutMs: this.#links.context.requestTimeoutMs })
      .then((response) => {
        if (response.errorCode !== 0) throw new BrokerError(response.errorCode, 'InitProducerId')
        if (this.#state.at !== 'asking') return
        this.#backoff.reset()
        this.#state = { at: 'ready', producerId: response.producerId, epoch: response.producerEpoch }
        this.#onReady()
      })
      .catch((cause: unknown) => this.#failed(cause))
  }

  #failed(cause: unknown): void {
    if (this.#state.at !== 'asking') return
    if (cause instanceof MillraceError) {
      const code = fatalProducerCodes.find((fatal) => fatal === cause.code)
      if (code !== undefined) {
        this.#state = { at: 'over' }
        this.#onFatal(new FatalProducerError(code, cause))
        return
      }
    }
    this.#timer = this.#links.scope.scheduler.setTimer(this.#backoff.next(), () => {
      this.#timer = undefined
      if (this.#state.at === 'asking') this.#ask()
    })
  }
}

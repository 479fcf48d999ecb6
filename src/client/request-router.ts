/**
 * Request router: "to whom" → a link. One try; transport failures make it forget what they disprove (the group's
 * coordinator, the cluster's picture), so that the caller's next try goes elsewhere.
 */
import { MillraceError } from '../base/errors.ts'
import type { AnyApi, RequestInput, ResponseOf } from '../protocol/schema.ts'
import type { BrokerLinks, LaneCall } from './broker-link.ts'
import type { Coordinators } from './coordinators.ts'
import type { Metadata } from './metadata.ts'
import { abandonable } from './retry.ts'

/** Where a request goes: a broker, the coordinator of a group, any broker that answers, or the controller. */
export type Destination = { readonly node: number } | { readonly group: string } | 'any' | 'controller'

/** The broker is not (yet) known. Code `ERR_UNKNOWN_BROKER`. Retriable: a refresh of the metadata was asked for. */
export class UnknownBrokerError extends MillraceError {
  override readonly name = 'UnknownBrokerError'
  constructor(message: string) {
    super('ERR_UNKNOWN_BROKER', message, { retriable: true })
  }
}

export class RequestRouter {
  readonly #links: BrokerLinks
  readonly #metadata: Metadata
  readonly #coordinators: Coordinators

  constructor(links: BrokerLinks, metadata: Metadata, coordinators: Coordinators) {
    this.#links = links
    this.#metadata = metadata
    this.#coordinators = coordinators
  }

  /** One try. `signal` abandons the wait, not the request. */
  request<A extends AnyApi>(
    api: A,
    to: Destination,
    input: RequestInput<A>,
    options: LaneCall,
    signal?: AbortSignal,
  ): Promise<ResponseOf<A>> {
    const answer = this.#route(api, to, input, options)
    return signal === undefined ? answer : abandonable(answer, signal, api.name)
  }

  async #route<A extends AnyApi>(
    api: A,
    to: Destination,
    input: RequestInput<A>,
    options: LaneCall,
  ): Promise<ResponseOf<A>> {
    if (to === 'any') return this.#links.any(api, input, options)
    if (to === 'controller') return this.#toNode(api, await this.#controller(options.timeoutMs), input, options)
    if ('node' in to) return this.#toNode(api, to.node, input, options)
    const node = await this.#coordinators.find(to.group)
    try {
      return await this.#toNode(api, node, input, options)
    } catch (cause) {
      if (cause instanceof MillraceError && cause.retriable) {
        this.#coordinators.forget(to.group, `${api.name} failed`)
      }
      throw cause
    }
  }

  async #toNode<A extends AnyApi>(
    api: A,
    node: number,
    input: RequestInput<A>,
    options: LaneCall,
  ): Promise<ResponseOf<A>> {
    const link = this.#links.node(node)
    if (link === undefined) {
      this.#metadata.refresh(`broker ${node} is unknown`)
      throw new UnknownBrokerError(`broker ${node} is not in the cluster's metadata; it may be starting or gone`)
    }
    try {
      return (await link.call(api, input, options)) as ResponseOf<A>
    } catch (cause) {
      if (cause instanceof MillraceError && cause.retriable)
        this.#metadata.refresh(`${api.name} to ${link.name} failed`)
      throw cause
    }
  }

  async #controller(timeoutMs: number): Promise<number> {
    const known = this.#metadata.view.controller
    if (known >= 0) return known
    const { controller } = await this.#metadata.refreshed('the controller is unknown', timeoutMs)
    if (controller < 0) throw new UnknownBrokerError('the cluster has no controller at the moment')
    return controller
  }
}

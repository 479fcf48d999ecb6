/**
 * Coordinators: which broker keeps a group. Owns the cache; look-ups of one group are merged. One try per `find`:
 * whoever needs the coordinator retries, because only they know for how long.
 */
import { findCoordinator } from '../protocol/api/find-coordinator.ts'
import { BrokerError, errorCodes } from '../protocol/errors.ts'
import type { ResponseOf } from '../protocol/schema.ts'
import type { BrokerLinks } from './broker-link.ts'

/** FindCoordinator's key type of a consumer group. */
const groupKey = 0

/** Finds and remembers the broker that keeps each group. */
export class Coordinators {
  readonly #links: BrokerLinks
  readonly #known = new Map<string, number>()
  readonly #asking = new Map<string, Promise<number>>()

  constructor(links: BrokerLinks) {
    this.#links = links
  }

  /** Node id of the group's coordinator. Rejects with BrokerError (COORDINATOR_NOT_AVAILABLE: retriable) or transport errors. */
  find(group: string): Promise<number> {
    const known = this.#known.get(group)
    if (known !== undefined) return Promise.resolve(known)
    let asking = this.#asking.get(group)
    if (asking === undefined) {
      asking = this.#ask(group).finally(() => this.#asking.delete(group))
      this.#asking.set(group, asking)
    }
    return asking
  }

  /** What is known about the group's coordinator is wrong (NOT_COORDINATOR, a lost connection): the next request looks it up. */
  forget(group: string, _why: string): void {
    this.#known.delete(group)
  }

  async #ask(group: string): Promise<number> {
    const response = await this.#links.any(
      findCoordinator,
      { key: group, keyType: groupKey, coordinatorKeys: [group] },
      { lane: 'control', timeoutMs: this.#links.context.requestTimeoutMs },
    )
    const { nodeId, host, port, errorCode } = entryOf(response, group)
    if (errorCode !== 0) throw new BrokerError(errorCode, `coordinator of group ${group}`)
    if (nodeId < 0) throw new BrokerError(errorCodes.COORDINATOR_NOT_AVAILABLE, `coordinator of group ${group}`)
    this.#links.learn(nodeId, host, port)
    this.#known.set(group, nodeId)
    return nodeId
  }
}

/** Version 4 and above answer with a list, below with one. */
function entryOf(
  response: ResponseOf<typeof findCoordinator>,
  group: string,
): {
  readonly nodeId: number
  readonly host: string
  readonly port: number
  readonly errorCode: number
} {
  return response.coordinators.find((entry) => entry.key === group) ?? response
}

/**
 * Coordinator: requests to the broker that keeps the group. Owns nothing; an answer that says the coordinator moved makes
 * the client forget it, so that the next request asks for it first.
 */
import { errorCodes, kafkaError } from '../../protocol/errors.ts'
import type { AnyApi, RequestInput, ResponseOf } from '../../protocol/schema.ts'
import type { ClientPort, PortRequestOptions } from '../consumer/port.ts'

export class Coordinator {
  readonly groupId: string
  readonly #port: ClientPort

  constructor(port: ClientPort, groupId: string) {
    this.#port = port
    this.groupId = groupId
  }

  request<A extends AnyApi>(api: A, input: RequestInput<A>, options: PortRequestOptions): Promise<ResponseOf<A>> {
    return this.#port.request(api, { group: this.groupId }, input, options)
  }

  /** Call with every error code of an answer. True: the coordinator is loading, moving or away; try again. */
  isAway(errorCode: number): boolean {
    if (errorCode === errorCodes.COORDINATOR_LOAD_IN_PROGRESS) return true
    if (errorCode !== errorCodes.NOT_COORDINATOR && errorCode !== errorCodes.COORDINATOR_NOT_AVAILABLE) return false
    this.#port.coordinators.forget(this.groupId, kafkaError(errorCode).name)
    return true
  }
}

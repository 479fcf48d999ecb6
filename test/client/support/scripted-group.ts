/** A scripted group of one member in virtual time: a coordinator that says yes unless told otherwise, and what the member told. */
import { ClassicMembership } from '../../../src/client/group/classic.ts'
import type { GroupEvent } from '../../../src/client/group/events.ts'
import type { GroupListener } from '../../../src/client/group/membership.ts'
import type { GroupOptions } from '../../../src/client/group/options.ts'
import { heartbeat } from '../../../src/protocol/api/heartbeat.ts'
import { joinGroup } from '../../../src/protocol/api/join-group.ts'
import { leaveGroup } from '../../../src/protocol/api/leave-group.ts'
import { syncGroup } from '../../../src/protocol/api/sync-group.ts'
import { errorCodes, type KafkaErrorName } from '../../../src/protocol/errors.ts'
import { encodeAssignment, encodeSubscription } from '../../../src/protocol/member-payload.ts'
import type { RequestOf } from '../../../src/protocol/schema.ts'
import { World } from '../../sim/world.ts'
import { FakePort } from './fake-port.ts'

/** A coordinator with one member: says yes unless told otherwise. */
export class Coordinator {
  readonly port: FakePort
  generation = 0
  /** Answers of the next requests, first to last: an error's name, or a transport failure. */
  readonly join: (KafkaErrorName | Error)[] = []
  readonly sync: (KafkaErrorName | Error)[] = []
  readonly heartbeat: (KafkaErrorName | Error)[] = []
  /** Answer of all heartbeats when none is scripted. */
  always: KafkaErrorName | Error | 'silence' = 'NONE'
  leads = true
  skipAssignment = false
  assignment: readonly number[] = [0, 1]
  /** What the other member tells the leader. */
  otherSubscription: Buffer = encodeSubscription({ topics: ['t'], userData: null })

  constructor(port: FakePort) {
    this.port = port
    port.on(joinGroup, (request) => this.#join(request))
    port.on(syncGroup, () => this.#sync())
    port.on(heartbeat, () => {
      const next = this.heartbeat.shift() ?? this.always
      if (next === 'silence' || next instanceof Error) return next
      return { throttleTimeMs: 0, errorCode: errorCodes[next] }
    })
    port.on(leaveGroup, () => ({ throttleTimeMs: 0, errorCode: 0, members: [] }))
  }

  #join(request: RequestOf<typeof joinGroup>) {
    const next = this.join.shift()
    if (next instanceof Error) return next
    const base = { throttleTimeMs: 0, protocolType: 'consumer', protocolName: 'range', generationId: -1 }
    const memberId = next === 'MEMBER_ID_REQUIRED' ? 'm1' : request.memberId || 'm1'
    if (next !== undefined) {
      return { ...base, errorCode: errorCodes[next], leader: '', memberId, members: [] }
    }
    this.generation += 1
    const member = { memberId, metadata: request.protocols[0]!.metadata }
    const other = { memberId: 'm0', metadata: this.otherSubscription }
    return {
      ...base,
      errorCode: 0,
      generationId: this.generation,
      leader: this.leads ? memberId : 'm0',
      skipAssignment: this.skipAssignment,
      memberId,
      members: this.leads ? [member, other] : [],
    }
  }

  #sync() {
    const next = this.sync.shift()
    if (next instanceof Error) return next
    const assignment = encodeAssignment({
      assignedPartitions: [{ topic: 't', partitions: [...this.assignment] }],
      userData: null,
    })
    return {
      throttleTimeMs: 0,
      errorCode: next === undefined ? 0 : errorCodes[next],
      protocolType: 'consumer',
      protocolName: 'range',
      assignment,
    }
  }
}

export interface Scene {
  readonly world: World
  readonly port: FakePort
  readonly coordinator: Coordinator
  readonly member: ClassicMembership
  /** What the listener was told. */
  readonly told: string[]
  readonly states: string[]
  readonly events: GroupEvent[]
  /** Until the member is stable with a generation beyond `after`. */
  stable(after?: number): Promise<void>
}

export interface Setup {
  readonly options?: Partial<GroupOptions>
  readonly listener?: Partial<GroupListener>
}

const show = (partitions: readonly { partition: number }[]): string => partitions.map((p) => p.partition).join()

export function inGroup(setup: Setup, body: (scene: Scene) => Promise<void>): () => Promise<void> {
  return async () => {
    const world = new World(1)
    await world.run(async () => {
      const port = new FakePort(world.process('client').scope)
      port.metadata.set('t', [1, 1, 1, 1])
      const told: string[] = []
      const states: string[] = []
      const events: GroupEvent[] = []
      const coordinator = new Coordinator(port)
      const { listener = {} } = setup
      const member = new ClassicMembership(port, {
        groupId: 'g',
        topics: ['t'],
        sessionTimeoutMs: 6_000,
        heartbeatIntervalMs: 1_000,
        rebalanceTimeoutMs: 10_000,
        retryBackoffMs: 10,
        retryBackoffMaxMs: 100,
        onEvent: (event) => {
          events.push(event)
          if (event.type === 'state') states.push(event.state.at)
        },
        listener: {
          onAssigned: (added) => {
            told.push(`assigned ${show(added)}`)
            return listener.onAssigned?.(added)
          },
          onRevoked: (removed) => {
            told.push(`revoked ${show(removed)}`)
            return listener.onRevoked?.(removed)
          },
          onLost: (removed) => {
            told.push(`lost ${show(removed)}`)
            listener.onLost?.(removed)
          },
          onError: (error) => {
            told.push(`error ${error.code}`)
            listener.onError?.(error)
          },
        },
        ...setup.options,
      })
      const stable = (after = 0): Promise<void> =>
        world.until(
          `stable after generation ${after}`,
          () => member.state.at === 'stable' && member.state.generation > after,
          30_000,
          5,
        )
      await body({ world, port, coordinator, member, told, states, events, stable })
      await member.close()
    })
  }
}

/** Options of a group membership: one table with defaults and bounds. */
import { OptionError } from '../../base/errors.ts'
import { custom, int, type OptionTable, resolveOptions, text } from '../../base/options.ts'
import type { Assignor } from './assignors/assignor.ts'
import { copartition } from './assignors/copartition.ts'
import { range } from './assignors/range.ts'
import type { GroupEvent } from './events.ts'
import type { GroupListener } from './membership.ts'

/** A built-in assignor by name, or one's own. */
export type AssignorChoice = 'range' | 'copartition' | Assignor

/** Options of a group membership. */
export interface GroupOptions {
  /** Name of the group. Required. */
  groupId: string
  /** Static member id (KIP-345): a restart within the session time-out keeps its partitions. Default '' (dynamic). */
  groupInstanceId?: string
  /** What to read. At least one before `join`. */
  topics: readonly string[]
  /** Time without a heartbeat after which the group gives the partitions to others. Milliseconds. Default 45 000, 1 000 to 1 800 000. */
  sessionTimeoutMs?: number
  /** Distance of heartbeats. Milliseconds. Default 0: a third of the session time-out, at most 3 000. 0 to 600 000. */
  heartbeatIntervalMs?: number
  /** How long members may take to give up partitions and rejoin. Milliseconds. Default 60 000, 1 000 to 3 600 000. */
  rebalanceTimeoutMs?: number
  /** Assignors offered, best first; the group takes one that all members offer. Default ['range']. */
  assignors?: readonly AssignorChoice[]
  /** Sent to the leader for rack-aware assignors. Default '' (none). */
  rackId?: string
  /** First and largest delay before something failed is repeated (doubles, jittered). Milliseconds. Default 100 and 1 000, 1 to 600 000. */
  retryBackoffMs?: number
  /** See retryBackoffMs. */
  retryBackoffMaxMs?: number
  /** Bound of `close()` and `leave()` without the running `onRevoked`. Milliseconds. Default 5 000, 0 to 600 000. */
  leaveTimeoutMs?: number
  /** Who owns the partitions. Required. */
  listener: GroupListener
  /** Observer of events; called synchronously, never awaited. */
  onEvent?: (event: GroupEvent) => void
}

const builtIn = new Map<string, Assignor>([
  ['range', range],
  ['copartition', copartition],
])

/** Row of the `assignors` option, shared with consumers. */
export const assignorsRow = custom<readonly AssignorChoice[]>({
  default: ['range'],
  accepts: (value) =>
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((a) => (typeof a === 'string' ? builtIn.has(a) : isAssignor(a))),
  says: "must be a list of 'range', 'copartition' or assignor objects (name, protocol 'eager', assign), at least one",
})

function isAssignor(value: unknown): value is Assignor {
  if (typeof value !== 'object' || value === null) return false
  const { name, protocol, assign } = value as Partial<Assignor>
  return typeof name === 'string' && name !== '' && protocol === 'eager' && typeof assign === 'function'
}

export const groupTable = {
  groupId: text({ default: '', rule: /./s, says: 'must be a non-empty string' }),
  groupInstanceId: text({ default: '' }),
  topics: custom<readonly string[]>({
    default: [],
    accepts: (value) => Array.isArray(value) && value.every((t) => typeof t === 'string' && t !== ''),
    says: 'must be a list of topic names',
  }),
  sessionTimeoutMs: int({ default: 45_000, min: 1_000, max: 1_800_000 }),
  heartbeatIntervalMs: int({ default: 0, min: 0, max: 600_000 }),
  rebalanceTimeoutMs: int({ default: 60_000, min: 1_000, max: 3_600_000 }),
  assignors: assignorsRow,
  rackId: text({ default: '' }),
  retryBackoffMs: int({ default: 100, min: 1, max: 600_000 }),
  retryBackoffMaxMs: int({ default: 1_000, min: 1, max: 600_000 }),
  leaveTimeoutMs: int({ default: 5_000, min: 0, max: 600_000 }),
  listener: custom<GroupListener>({
    default: { onAssigned() {}, onRevoked() {}, onLost() {}, onError() {} },
    accepts: (value) =>
      typeof value === 'object' &&
      value !== null &&
      (['onAssigned', 'onRevoked', 'onLost', 'onError'] as const).every(
        (name) => typeof (value as Record<string, unknown>)[name] === 'function',
      ),
    says: 'must have the functions onAssigned, onRevoked, onLost and onError',
  }),
  onEvent: custom<(event: GroupEvent) => void>({
    default: () => {},
    accepts: (value) => typeof value === 'function',
    says: 'must be a function',
  }),
} satisfies OptionTable<GroupOptions>

/** Options with everything decided. */
export interface ResolvedGroupOptions {
  readonly groupId: string
  readonly instanceId: string | null
  readonly topics: readonly string[]
  readonly sessionTimeoutMs: number
  readonly heartbeatIntervalMs: number
  readonly rebalanceTimeoutMs: number
  readonly assignors: readonly Assignor[]
  readonly rackId: string | null
  readonly retryBackoffMs: number
  readonly retryBackoffMaxMs: number
  readonly leaveTimeoutMs: number
  readonly listener: GroupListener
  readonly onEvent: (event: GroupEvent) => void
}

/** Throws OptionError with every fault. */
export function resolveGroupOptions(given: GroupOptions): ResolvedGroupOptions {
  const options = resolveOptions<GroupOptions>('group', groupTable, given)
  const faults = groupFaults(options)
  if (options.groupId === '') faults.push('groupId is required')
  if (faults.length > 0) throw new OptionError('group', faults)
  return {
    ...options,
    heartbeatIntervalMs: heartbeatInterval(options),
    instanceId: options.groupInstanceId === '' ? null : options.groupInstanceId,
    rackId: options.rackId === '' ? null : options.rackId,
    assignors: options.assignors.map((choice) => (typeof choice === 'string' ? builtIn.get(choice)! : choice)),
  }
}

interface Sessions {
  readonly sessionTimeoutMs: number
  readonly heartbeatIntervalMs: number
}

/** What does not fit together; consumers check it when they are made. */
export function groupFaults(options: Sessions): string[] {
  if (heartbeatInterval(options) < options.sessionTimeoutMs) return []
  return ['heartbeatIntervalMs must be below sessionTimeoutMs (a third of it is usual)']
}

function heartbeatInterval({ heartbeatIntervalMs, sessionTimeoutMs }: Sessions): number {
  return heartbeatIntervalMs > 0 ? heartbeatIntervalMs : Math.min(3_000, Math.floor(sessionTimeoutMs / 3))
}

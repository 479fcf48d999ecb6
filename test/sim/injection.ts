/**
 * Injections: what goes wrong, and exactly where: at the n-th time that a step of a checkpoint (or of a start) happens in
 * any instance. Steps are seen from outside: at the wire, at the disk, in the broker.
 */
import type { KafkaErrorName } from '../../src/protocol/errors.ts'
import type { SeededRandom } from './random.ts'

/** The places, in the order of a life: start, records, checkpoint. */
export const steps = [
  'JoinGroup leaves',
  'JoinGroup answered',
  'SyncGroup leaves',
  'SyncGroup answered',
  'OffsetFetch leaves',
  'OffsetFetch answered',
  'ListOffsets leaves',
  'ListOffsets answered',
  'Fetch leaves',
  'Fetch answered',
  'Heartbeat leaves',
  'Heartbeat answered',
  'callback',
  // The checkpoint: 2 changelog and 3 its acknowledgement, 4 the store, 5 the offsets.
  'changelog leaves',
  'changelog written',
  'changelog answered',
  'output leaves',
  'output written',
  'output answered',
  'store before',
  'store after',
  'commit leaves',
  'commit written',
  'commit answered',
] as const
export type Step = (typeof steps)[number]

export const actions = [
  'kill',
  'cut',
  'lose',
  'error',
  'stall',
  'isolate',
  'join',
  'leave',
  'crash',
  'leader',
  'coordinator',
] as const
export type Action = (typeof actions)[number]

/** What goes wrong, at which step. */
export interface Trouble {
  readonly step: Step
  readonly action: Action
  readonly error: KafkaErrorName
  /** Whether the error is answered although the request was processed. */
  readonly after: boolean
}

export interface Injection extends Trouble {
  readonly nth: number
  /** How long it takes, for those that do. */
  readonly ms: number
}

/** Every answer that the table of commit outcomes knows. */
export const commitErrors: readonly KafkaErrorName[] = [
  'NOT_COORDINATOR',
  'COORDINATOR_NOT_AVAILABLE',
  'COORDINATOR_LOAD_IN_PROGRESS',
  'REQUEST_TIMED_OUT',
  'UNKNOWN_TOPIC_OR_PARTITION',
  'REBALANCE_IN_PROGRESS',
  'ILLEGAL_GENERATION',
  'STALE_MEMBER_EPOCH',
  'UNKNOWN_MEMBER_ID',
  'FENCED_INSTANCE_ID',
  'GROUP_AUTHORIZATION_FAILED',
  'OFFSET_METADATA_TOO_LARGE',
]
/** Of these a broker may say although it has appended: it lost its office, or its replicas, while it waited for them. */
const afterAppend: ReadonlySet<KafkaErrorName> = new Set<KafkaErrorName>([
  'NOT_LEADER_OR_FOLLOWER',
  'REQUEST_TIMED_OUT',
  'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  'KAFKA_STORAGE_ERROR',
])
const produceErrors: readonly KafkaErrorName[] = [
  'NOT_LEADER_OR_FOLLOWER',
  'REQUEST_TIMED_OUT',
  'NOT_ENOUGH_REPLICAS',
  'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  'KAFKA_STORAGE_ERROR',
  'OUT_OF_ORDER_SEQUENCE_NUMBER',
  'UNKNOWN_PRODUCER_ID',
  'TOPIC_AUTHORIZATION_FAILED',
  'INVALID_RECORD',
]
const errorsOf: Partial<Record<Step, readonly KafkaErrorName[]>> = {
  'JoinGroup leaves': ['NOT_COORDINATOR', 'COORDINATOR_LOAD_IN_PROGRESS', 'UNKNOWN_MEMBER_ID', 'REBALANCE_IN_PROGRESS'],
  'SyncGroup leaves': ['NOT_COORDINATOR', 'UNKNOWN_MEMBER_ID', 'REBALANCE_IN_PROGRESS', 'ILLEGAL_GENERATION'],
  'OffsetFetch leaves': ['NOT_COORDINATOR', 'COORDINATOR_LOAD_IN_PROGRESS', 'UNSTABLE_OFFSET_COMMIT'],
  'ListOffsets leaves': ['NOT_LEADER_OR_FOLLOWER', 'LEADER_NOT_AVAILABLE'],
  'Fetch leaves': ['NOT_LEADER_OR_FOLLOWER', 'FENCED_LEADER_EPOCH', 'UNKNOWN_LEADER_EPOCH'],
  'Heartbeat leaves': ['NOT_COORDINATOR', 'REBALANCE_IN_PROGRESS', 'ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID'],
  'changelog leaves': produceErrors,
  'output leaves': produceErrors,
  'commit leaves': commitErrors,
}

/** Errors after which a processor may end: a retry cannot help, or its instance id is another's. */
export const fatalCodes: ReadonlySet<string> = new Set<string>([
  'GROUP_AUTHORIZATION_FAILED',
  'OFFSET_METADATA_TOO_LARGE',
  'FENCED_INSTANCE_ID',
  'TOPIC_AUTHORIZATION_FAILED',
  'INVALID_RECORD',
])

const checkpointSteps: readonly Step[] = steps.slice(steps.indexOf('callback'))

/** Everything that can go wrong once, as data: each step with each action and each error. */
export const catalogue: readonly Trouble[] = steps.flatMap((step) =>
  actions.flatMap((action): Trouble[] => {
    if (action === 'lose' && !isOnWire(step)) return []
    if (action !== 'error') return [{ step, action, error: 'NONE', after: false }]
    return (errorsOf[step] ?? []).flatMap((error) => {
      const mayBeAfter = !produceErrors.includes(error) || afterAppend.has(error)
      return (mayBeAfter ? [false, true] : [false]).map((after) => ({ step, action, error, after }))
    })
  }),
)

/** The catalogue's entry as text. */
export function nameOf({ step, action, error, after }: Trouble): string {
  return action === 'error' ? `${step}: ${error}${after ? ' (processed)' : ''}` : `${step}: ${action}`
}

/** What happens in the world of `seed`: the catalogue in turn, so that a thousand seeds hold all of it, and more by chance. */
export function drawInjections(seed: number, random: SeededRandom): Injection[] {
  if (random.chance(0.1)) return []
  const placed = (one: Trouble): Injection => {
    const isRare = !checkpointSteps.includes(one.step)
    return { ...one, nth: random.pick(isRare ? [1, 1, 2] : [1, 1, 2, 3, 4, 6, 9]), ms: random.between(0, 1000) }
  }
  const injections = [placed(catalogue[seed % catalogue.length]!)]
  for (let more = random.pick([0, 0, 1, 2, 4]); more > 0; more--) {
    const step = random.pick(random.chance(0.8) ? checkpointSteps : steps)
    injections.push(placed(random.pick(catalogue.filter((one) => one.step === step))))
  }
  return injections
}

function isOnWire(step: Step): boolean {
  return step.endsWith(' leaves') || step.endsWith(' answered')
}

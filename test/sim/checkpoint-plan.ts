/** What one world of the checkpoint simulation is made of, drawn from its seed: members, orders, options, and the troubles with the step at which each comes. */
import type { KafkaErrorName } from '../../src/protocol/errors.ts'
import type { ProcessorOptions } from '../../src/streams/processor-options.ts'
import type { Deed } from './checkpoint-group.ts'
import type { SeededRandom } from './random.ts'

/** Where trouble may come: in the order of a checkpoint, then what a start does, then the membership. */
export const steps = [
  'callback',
  'encoding',
  'changelog',
  'storing',
  'committing',
  'positions',
  'end of log',
  'heartbeat',
  'join',
  'sync',
] as const
export type Step = (typeof steps)[number]

export const deeds = [
  'kill',
  'cut',
  'lose',
  'stall',
  'isolate',
  'answer',
  'enter',
  'leave',
  'replace',
  'crash broker',
  'move coordinator',
] as const
export type TroubleKind = (typeof deeds)[number]

export interface Trouble {
  readonly step: Step
  readonly when: 'before' | 'after'
  readonly nth: number
  readonly does: TroubleKind
  readonly ms: number
  readonly error: KafkaErrorName
  readonly times: number
}

/** What the coordinator may answer to a commit; the last is fatal. */
export const commitErrors = [
  'NOT_COORDINATOR',
  'COORDINATOR_LOAD_IN_PROGRESS',
  'COORDINATOR_NOT_AVAILABLE',
  'REQUEST_TIMED_OUT',
  'REBALANCE_IN_PROGRESS',
  'ILLEGAL_GENERATION',
  'UNKNOWN_MEMBER_ID',
  'FENCED_INSTANCE_ID',
  'GROUP_AUTHORIZATION_FAILED',
] as const satisfies readonly KafkaErrorName[]

export interface Plan {
  readonly partitions: number
  readonly records: number
  readonly members: number
  readonly nodes: number
  readonly keys: number
  readonly isStatic: boolean
  /** A machine that is started again has its disk. */
  readonly durable: boolean
  readonly troubles: readonly Trouble[]
  /** Deeds of the orders; more often, more likely. */
  readonly orders: readonly Deed[]
  /** Longest pause between bursts of orders. */
  readonly paceMs: number
  readonly storeLingerMs: number
  readonly processor: ProcessorOptions
}

export const sessionTimeoutMs = 2000

export function drawPlan(random: SeededRandom): Plan {
  if (random.chance(0.2)) return drawZombies(random)
  const kinds = random.chance(0.3) ? deeds : deeds.filter(() => random.chance(0.4))
  const orders: Deed[] = ['add', 'add', 'add', 'add', 'add', 'add', 'add', 'add']
  for (const deed of ['forget', 'put', 'drop', 'nothing'] as const) if (random.chance(0.5)) orders.push(deed)
  if (random.chance(0.4)) orders.push(...orders, 'poison')
  return {
    ...drawFrame(random),
    partitions: random.between(1, 3),
    members: random.between(1, 2),
    keys: random.between(1, 10),
    troubles: drawTroubles(random, kinds),
    orders,
    paceMs: 80,
  }
}

/** Two members, few keys, and one of the two comes back from the dead and writes what it had in its hands. */
function drawZombies(random: SeededRandom): Plan {
  return {
    ...drawFrame(random),
    partitions: random.between(1, 2),
    members: 2,
    keys: random.between(1, 4),
    troubles: Array.from({ length: random.between(1, 2) }, () => drawZombie(random)),
    orders: ['add'],
    paceMs: random.pick([80, 600]),
  }
}

function drawFrame(
  random: SeededRandom,
): Pick<Plan, 'records' | 'nodes' | 'isStatic' | 'durable' | 'storeLingerMs' | 'processor'> {
  return {
    records: random.between(40, 120),
    nodes: random.between(1, 2),
    isStatic: random.chance(0.5),
    durable: random.chance(0.5),
    storeLingerMs: random.pick([0, 500, 60_000]),
    processor: {
      sessionTimeoutMs,
      heartbeatIntervalMs: 300,
      rebalanceTimeoutMs: random.pick([1000, 2000, 5000]),
      closeTimeoutMs: 2000,
      checkpointIntervalMs: random.pick([5, 20, 100]),
      cacheBytes: random.pick([0, 64 * 1024 * 1024]),
    },
  }
}

/** Somebody stands still, or is cut off, for longer than its session, with writes in its hands. */
function drawZombie(random: SeededRandom): Trouble {
  const how = random.pick([
    { step: 'encoding', when: 'after', does: 'stall' },
    { step: 'changelog', when: 'before', does: 'isolate' },
  ] as const)
  const ms = random.between(sessionTimeoutMs, 3 * sessionTimeoutMs)
  return { ...how, nth: random.between(1, 20), ms, error: 'NONE', times: 1 }
}

function drawTroubles(random: SeededRandom, kinds: readonly TroubleKind[]): Trouble[] {
  if (kinds.length === 0) return []
  return Array.from({ length: random.pick([1, 2, 4, 8]) }, () => {
    const does = random.pick(kinds)
    const step = does === 'answer' ? 'committing' : random.pick(random.chance(0.75) ? steps.slice(0, 5) : steps)
    return {
      step,
      does,
      when: random.pick(['before', 'after'] as const),
      nth: step === 'callback' ? random.between(1, 60) : random.between(1, 16),
      ms: random.pick([5, 50, 400, 1500, sessionTimeoutMs + 500, 2 * sessionTimeoutMs]),
      error: random.pick(commitErrors),
      times: random.pick([1, 1, 2, 5]),
    }
  })
}

/** Whether what happens is at most repeated, and no work is ever lost. */
export function isCalm({ troubles, members }: Plan): boolean {
  const alone = members === 1 && !troubles.some(({ does }) => does === 'enter' || does === 'leave')
  return troubles.every(({ does, error, times }) => {
    // More would take longer than a rebalance may.
    if (does === 'answer') return times <= 2 && (retried.has(error) || (alone && kept.has(error)))
    return does === 'cut' || does === 'move coordinator' || does === 'enter' || does === 'leave'
  })
}
const retried: ReadonlySet<string> = new Set(commitErrors.slice(0, 4))
const kept: ReadonlySet<string> = new Set(commitErrors.slice(4, 6))

/** Offset commits: what each answer of the coordinator means for a task. */
import * as assert from 'uvu/assert'
import { MillraceError, TimeoutError } from '../../src/base/errors.ts'
import type { Scope } from '../../src/base/scope.ts'
import { type CommitOutcome, Committer, commitReaction } from '../../src/streams/committer.ts'
import type { GroupMembership, OffsetToCommit } from '../../src/streams/port.ts'
import { suite } from '../support/suite.ts'

const test = suite('committer')

/** A scope whose timers fire in the next turn: retries need no waiting. */
function impatient(): Scope {
  return {
    scheduler: {
      now: () => 0,
      monotonic: () => 0,
      setTimer: (_delayMs, callback) => ({ timer: setImmediate(callback) }),
      clearTimer: (handle) => clearImmediate(handle.timer as NodeJS.Immediate),
      immediate: (callback) => void setImmediate(callback),
    },
    random: { next: () => 0.5, bytes: (size) => Buffer.alloc(size) },
  } as Partial<Scope> as Scope
}

type Answer = string | readonly string[] | MillraceError

/** A coordinator that gives one scripted answer per attempt. `during` runs inside each. */
function scripted(answers: Answer[], during: () => void = () => {}) {
  const attempts: OffsetToCommit[][] = []
  let heartbeats = 0
  const group = { generation: 1 }
  const membership: GroupMembership = {
    join: () => {},
    metadata: () => ({ groupId: 'g', memberId: 'm', generation: group.generation }),
    lastHeartbeatSentAt: 0,
    heartbeatNow: () => {
      heartbeats += 1
      return Promise.resolve()
    },
    commitOnce: (offsets) => {
      attempts.push([...offsets])
      during()
      const answer = answers.shift() ?? 'NONE'
      if (answer instanceof MillraceError) return Promise.reject(answer)
      return Promise.resolve(
        offsets.map(({ topic, partition }, i) => ({
          topic,
          partition,
          error: typeof answer === 'string' ? answer : (answer[i] ?? 'NONE'),
        })),
      )
    },
    committed: () => Promise.resolve([]),
    close: () => Promise.resolve(),
  }
  return { membership, attempts, group, heartbeats: () => heartbeats }
}

function commit(committer: Committer, offsets: readonly OffsetToCommit[]): Promise<CommitOutcome> {
  return new Promise((resolve) => committer.commit(offsets, resolve))
}

const at = (partition: number, offset: number): OffsetToCommit => ({ topic: 't', partition, offset })
const crash = (cause: unknown): void => {
  throw cause
}

const cases: readonly { answers: Answer[]; outcome: CommitOutcome['kind']; attempts: number }[] = [
  { answers: ['NONE'], outcome: 'committed', attempts: 1 },
  { answers: ['NOT_COORDINATOR', 'NONE'], outcome: 'committed', attempts: 2 },
  { answers: ['COORDINATOR_LOAD_IN_PROGRESS', 'COORDINATOR_NOT_AVAILABLE', 'NONE'], outcome: 'committed', attempts: 3 },
  { answers: ['REQUEST_TIMED_OUT', 'NONE'], outcome: 'committed', attempts: 2 },
  { answers: [new TimeoutError('no answer'), 'NONE'], outcome: 'committed', attempts: 2 },
  { answers: ['REBALANCE_IN_PROGRESS'], outcome: 'kept', attempts: 1 },
  { answers: ['ILLEGAL_GENERATION'], outcome: 'kept', attempts: 1 },
  { answers: ['STALE_MEMBER_EPOCH'], outcome: 'kept', attempts: 1 },
  { answers: ['UNKNOWN_MEMBER_ID'], outcome: 'lost', attempts: 1 },
  { answers: ['FENCED_INSTANCE_ID'], outcome: 'lost', attempts: 1 },
  { answers: ['GROUP_AUTHORIZATION_FAILED'], outcome: 'failed', attempts: 1 },
  { answers: ['OFFSET_METADATA_TOO_LARGE'], outcome: 'failed', attempts: 1 },
  { answers: [new MillraceError('ERR_CLOSED', 'closed')], outcome: 'failed', attempts: 1 },
  { answers: ['NOT_COORDINATOR', 'UNKNOWN_MEMBER_ID'], outcome: 'lost', attempts: 2 },
]

for (const { answers, outcome, attempts } of cases) {
  const script = answers.map((answer) => (answer instanceof MillraceError ? answer.code : answer)).join(', ')
  test(`${script} → ${outcome}`, async () => {
    const coordinator = scripted([...answers])
    const committer = new Committer(impatient(), coordinator.membership, crash)
    const got = await commit(committer, [at(0, 5)])
    assert.is(got.kind, outcome)
    assert.is(coordinator.attempts.length, attempts)
  })
}

test('a failed commit names the partition and the broker error', async () => {
  const committer = new Committer(impatient(), scripted(['TOPIC_AUTHORIZATION_FAILED']).membership, crash)
  const outcome = await commit(committer, [at(3, 5)])
  assert.is(outcome.kind === 'failed' && outcome.error.code, 'TOPIC_AUTHORIZATION_FAILED')
  assert.match(outcome.kind === 'failed' ? outcome.error.message : '', 't/3')
})

test('commits of one turn travel in one request; each task hears its own outcome', async () => {
  const coordinator = scripted([['NONE', 'UNKNOWN_MEMBER_ID']])
  const committer = new Committer(impatient(), coordinator.membership, crash)
  const outcomes = await Promise.all([commit(committer, [at(0, 1)]), commit(committer, [at(1, 2)])])
  assert.equal(
    outcomes.map((one) => one.kind),
    ['committed', 'lost'],
  )
  assert.equal(coordinator.attempts, [[at(0, 1), at(1, 2)]])
})

const settles: readonly { name: string; generation: number; assigned: number[]; again: OffsetToCommit[] }[] = [
  { name: 'the next generation, partition kept: committed', generation: 2, assigned: [0], again: [at(0, 5)] },
  {
    name: 'both partitions kept, each asked for alone: both committed',
    generation: 2,
    assigned: [0, 1],
    again: [at(0, 5), at(1, 6)],
  },
  { name: 'the next generation, partition elsewhere: dropped', generation: 2, assigned: [2], again: [] },
  { name: 'a generation in between: dropped', generation: 3, assigned: [0], again: [] },
]
for (const { name, generation, assigned, again } of settles) {
  test(`offsets kept over a rebalance — ${name}`, async () => {
    const coordinator = scripted(['REBALANCE_IN_PROGRESS', 'NONE'])
    const committer = new Committer(impatient(), coordinator.membership, crash)
    const outcomes = await Promise.all([commit(committer, [at(0, 5)]), commit(committer, [at(1, 6)])])
    assert.equal(
      outcomes.map(({ kind }) => kind),
      ['kept', 'kept'],
    )
    coordinator.group.generation = generation
    for (let round = 0; round < 2; round++) {
      for (const partition of assigned) await committer.settleKept([{ topic: 't', partition }])
      assert.equal(coordinator.attempts.slice(1).flat(), again)
    }
    assert.ok(coordinator.heartbeats() >= 1)
  })
}

test('offsets that were kept and then committed are not committed again, which would go back', async () => {
  const coordinator = scripted(['REBALANCE_IN_PROGRESS', 'NONE', 'NONE'])
  const committer = new Committer(impatient(), coordinator.membership, crash)
  assert.is((await commit(committer, [at(0, 5)])).kind, 'kept')
  assert.is((await commit(committer, [at(0, 9)])).kind, 'committed')
  coordinator.group.generation = 2
  await committer.settleKept([{ topic: 't', partition: 0 }])
  assert.equal(coordinator.attempts, [[at(0, 5)], [at(0, 9)]])
})

test('a commit is not repeated in another generation: the partition may have another owner', async () => {
  const coordinator = scripted(['NOT_COORDINATOR', 'NONE'], () => {
    coordinator.group.generation = 2
  })
  const committer = new Committer(impatient(), coordinator.membership, crash)
  assert.is((await commit(committer, [at(0, 5)])).kind, 'lost')
  assert.is(coordinator.attempts.length, 1)
})

test('closing ends the retries: what is pending is told that it is lost', async () => {
  const committer = new Committer(impatient(), scripted(Array<string>(1000).fill('NOT_COORDINATOR')).membership, crash)
  const outcome = commit(committer, [at(0, 5)])
  committer.close()
  assert.is((await outcome).kind, 'lost')
})

test('error names that are not in the table are fatal', () => {
  for (const name of ['INVALID_COMMIT_OFFSET_SIZE', 'GROUP_ID_NOT_FOUND', 'UNKNOWN_SERVER_ERROR', '']) {
    assert.is(commitReaction(name), 'fatal')
  }
})

test.run()

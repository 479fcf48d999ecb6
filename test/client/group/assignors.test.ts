/** Assignors: tables of what they give, and what holds whatever the members and topics. */
import * as assert from 'uvu/assert'
import type { Assignor, AssignorMember } from '../../../src/client/group/assignors/assignor.ts'
import { copartition } from '../../../src/client/group/assignors/copartition.ts'
import { range } from '../../../src/client/group/assignors/range.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'

const test = suite('assignors')

/** `a:t,u` = member a subscribed to t and u; `a@i:t` has instance id i; `a:t <t0,t1/5>` had t/0 and t/1 in generation 5. */
function member(text: string): AssignorMember {
  const [, memberId, instanceId, topics, owned, generation] = /^(\w+)(?:@(\w+))?:([\w,]*)(?: <([\w,]*)\/(\d+)>)?$/.exec(
    text,
  )!
  return {
    memberId: memberId!,
    instanceId: instanceId ?? null,
    topics: topics!.split(',').filter((t) => t !== ''),
    owned: (owned ?? '')
      .split(',')
      .filter((p) => p !== '')
      .map((p) => ({ topic: p.replace(/\d+$/, ''), partition: Number(/\d+$/.exec(p)![0]) })),
    generation: generation === undefined ? -1 : Number(generation),
    rackId: null,
    userData: null,
  }
}

function assign(
  assignor: Assignor,
  members: readonly AssignorMember[],
  counts: Record<string, number>,
): Record<string, string> {
  const result = assignor.assign(members, new Map(Object.entries(counts)))
  return Object.fromEntries(
    members.map(({ memberId }) => [
      memberId,
      (result.get(memberId)?.partitions ?? []).map((p) => `${p.topic}${p.partition}`).join(' '),
    ]),
  )
}

interface Case {
  readonly name: string
  readonly assignor: Assignor
  readonly members: readonly string[]
  readonly counts: Record<string, number>
  readonly gives: Record<string, string>
}

const cases: readonly Case[] = [
  { name: 'one member has all', assignor: range, members: ['a:t,u'], counts: { t: 2, u: 1 }, gives: { a: 't0 t1 u0' } },
  {
    name: 'the first members get one more, per topic (as in Java)',
    assignor: range,
    members: ['b:t,u', 'a:t,u'],
    counts: { t: 3, u: 3 },
    gives: { a: 't0 t1 u0 u1', b: 't2 u2' },
  },
  {
    name: 'more members than partitions',
    assignor: range,
    members: ['a:t', 'b:t', 'c:t'],
    counts: { t: 2 },
    gives: { a: 't0', b: 't1', c: '' },
  },
  {
    name: 'only subscribers count',
    assignor: range,
    members: ['a:t', 'b:t,u', 'c:u'],
    counts: { t: 3, u: 3 },
    gives: { a: 't0 t1', b: 't2 u0 u1', c: 'u2' },
  },
  {
    name: 'members with instance ids come first, in their order',
    assignor: range,
    members: ['a:t', 'z@i2:t', 'y@i1:t'],
    counts: { t: 5 },
    gives: { y: 't0 t1', z: 't2 t3', a: 't4' },
  },
  { name: 'a missing topic', assignor: range, members: ['a:t,gone'], counts: { t: 1 }, gives: { a: 't0' } },
  {
    name: 'the same number of each topic together',
    assignor: copartition,
    members: ['a:t,u', 'b:t,u'],
    counts: { t: 3, u: 3 },
    gives: { a: 't0 t2 u0 u2', b: 't1 u1' },
  },
  {
    name: 'unequal counts: a number that a topic lacks is left out',
    assignor: copartition,
    members: ['a:t,u', 'b:t,u'],
    counts: { t: 4, u: 2 },
    gives: { a: 't0 t2 u0', b: 't1 t3 u1' },
  },
  {
    name: 'numbers stay where they were',
    assignor: copartition,
    members: ['a:t,u <t1,u1,t3,u3/7>', 'b:t,u <t0,u0,t2,u2/7>'],
    counts: { t: 4, u: 4 },
    gives: { a: 't1 t3 u1 u3', b: 't0 t2 u0 u2' },
  },
  {
    name: 'a new member takes no more than its share',
    assignor: copartition,
    members: ['a:t <t0,t1,t2/7>', 'b:t <t3,t4,t5/7>', 'c:t'],
    counts: { t: 6 },
    gives: { a: 't0 t1', b: 't3 t4', c: 't2 t5' },
  },
  {
    name: 'what a dead member had goes to the others',
    assignor: copartition,
    members: ['a:t <t0,t1/7>', 'b:t <t2,t3/7>'],
    counts: { t: 6 },
    gives: { a: 't0 t1 t4', b: 't2 t3 t5' },
  },
  {
    name: 'of two that claim a number, the newer generation has it',
    assignor: copartition,
    members: ['a:t <t0,t1/6>', 'b:t <t1/7>'],
    counts: { t: 2 },
    gives: { a: 't0', b: 't1' },
  },
  {
    name: 'claims to other topics or numbers mean nothing',
    assignor: copartition,
    members: ['a:t <x0,t9/7>', 'b:t'],
    counts: { t: 2 },
    gives: { a: 't0', b: 't1' },
  },
  {
    name: 'topics with other subscribers are spread apart',
    assignor: copartition,
    members: ['a:t,u', 'b:t'],
    counts: { t: 2, u: 2 },
    gives: { a: 't0 u0 u1', b: 't1' },
  },
]

for (const c of cases) {
  test(`${c.assignor.name}: ${c.name}`, () => {
    assert.equal(assign(c.assignor, c.members.map(member), c.counts), c.gives)
    assert.equal(assign(c.assignor, [...c.members].reverse().map(member), c.counts), c.gives, 'in any order of members')
  })
}

for (const assignor of [range, copartition]) {
  test(`${assignor.name}: random members and topics`, () => {
    const seed = Number(process.env['SEED'] ?? 42)
    console.log(`  assignors: SEED=${seed}`)
    const random = new SeededRandom(seed)
    for (let round = 0; round < 500; round++) {
      const topics = ['t', 'u', 'v'].slice(0, random.between(1, 3))
      const counts = new Map(topics.map((t) => [t, random.between(0, 12)]))
      const members = Array.from({ length: random.between(1, 6) }, (_, i) => {
        const uneven = random.chance(0.2)
        return {
          ...member(`m${i}:`),
          instanceId: random.chance(0.3) ? `i${random.int(100)}-${i}` : null,
          topics: uneven ? topics.filter(() => random.chance(0.5)) : topics,
          owned: topics.flatMap((topic) =>
            Array.from({ length: random.int(4) }, () => ({ topic, partition: random.int(14) })),
          ),
          generation: random.between(-1, 3),
        }
      })
      const result = assignor.assign(members, counts)
      check(assignor, members, counts, result)
      const again = assignor.assign([...members].reverse(), counts)
      for (const { memberId } of members) assert.equal(again.get(memberId), result.get(memberId), 'deterministic')
    }
  })
}

function check(
  assignor: Assignor,
  members: readonly AssignorMember[],
  counts: ReadonlyMap<string, number>,
  result: ReturnType<Assignor['assign']>,
): void {
  const given = new Map<string, string>()
  for (const [memberId, { partitions }] of result) {
    const topics = members.find((m) => m.memberId === memberId)!.topics
    for (const { topic, partition } of partitions) {
      assert.ok(topics.includes(topic), `${memberId} got ${topic} unasked`)
      assert.not(given.has(`${topic}/${partition}`), 'given once')
      given.set(`${topic}/${partition}`, memberId)
    }
  }
  for (const [topic, count] of counts) {
    const subscribers = members.filter((m) => m.topics.includes(topic))
    const each = subscribers.map(
      (m) => (result.get(m.memberId)?.partitions ?? []).filter((p) => p.topic === topic).length,
    )
    const sum = each.reduce((a, b) => a + b, 0)
    assert.is(sum, subscribers.length === 0 ? 0 : count, `${topic} is given completely`)
    if (assignor === range) assert.ok(Math.max(0, ...each) - Math.min(count, ...each) <= 1, 'balanced')
  }
  if (assignor !== copartition || members.some((m) => m.topics.length !== counts.size)) return
  const numbers = Math.max(...counts.values())
  const owners = new Map<string, number>(members.map((m) => [m.memberId, 0]))
  for (let n = 0; n < numbers; n++) {
    const of = new Set([...counts].filter(([, c]) => c > n).map(([t]) => given.get(`${t}/${n}`)))
    assert.is(of.size, 1, `number ${n} is with one member`)
    const owner = [...of][0]!
    owners.set(owner, owners.get(owner)! + 1)
  }
  const loads = [...owners.values()]
  assert.ok(Math.max(...loads) - Math.min(...loads) <= 1, `numbers per member: ${loads.join()}`)
}

test('copartition: a join and a leave move only what the balance needs', () => {
  const counts = new Map([['t', 12]])
  const owned = (
    result: ReturnType<Assignor['assign']>,
    ids: readonly string[],
    generation: number,
  ): AssignorMember[] =>
    ids.map((id) => ({ ...member(`${id}:t`), owned: result.get(id)?.partitions ?? [], generation }))
  const two = copartition.assign(owned(new Map(), ['a', 'b'], -1), counts)
  const three = copartition.assign(owned(two, ['a', 'b', 'c'], 1), counts)
  const moved = (before: typeof two, after: typeof two): number =>
    [...after].reduce((sum, [id, { partitions }]) => {
      const had = new Set(before.get(id)?.partitions.map((p) => p.partition))
      return sum + partitions.filter((p) => !had.has(p.partition)).length
    }, 0)
  assert.is(moved(two, three), 4, 'c gets four of twelve, nothing else moves')
  const back = copartition.assign(owned(three, ['a', 'b'], 2), counts)
  assert.is(moved(three, back), 4, "c's four go back, nothing else moves")
})

test.run()

/** Merges: what a store holds stays the same at every step, and what is broken off leaves nothing behind. */
import * as assert from 'uvu/assert'
import {
  chooseMerge,
  defaultLimits,
  type LevelLimits,
  mergeAll,
  type MergePlan,
} from '../../../src/storage/log/levels.ts'
import { applyStep, merge, type MergeStep } from '../../../src/storage/log/merge.ts'
import type { Table } from '../../../src/storage/log/table.ts'
import { tableName } from '../../../src/storage/log/format.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { failing } from '../support/fault-fs.ts'
import { type ListEntry, newestOf, randomEntries, seeds, show } from '../support/list-cursor.ts'
import { numbersOf } from '../support/table-metas.ts'
import { runSteps, TableWorld } from '../support/tables.ts'

const test = suite('merge')

const kib = 1024
/** Everything a thousandth of its size. */
const limits: LevelLimits = { ...defaultLimits, tableBytes: 32 * kib, smallTableBytes: 8 * kib }

/** Entries with keys from `from` on, `every` apart, and values that tell their version. */
function numbered(from: number, count: number, version: string, every = 1, valueBytes = 80): ListEntry[] {
  return Array.from({ length: count }, (_, i) => ({
    space: 0,
    key: Buffer.from(String(from + i * every).padStart(8, '0')),
    value: Buffer.from(version.padEnd(valueBytes)),
  }))
}

function deleted(entries: readonly ListEntry[]): ListEntry[] {
  return entries.map((entry) => ({ ...entry, value: undefined }))
}

function withValue(entries: readonly ListEntry[]): ListEntry[] {
  return entries.filter(({ value }) => value !== undefined)
}

/** A world with such levels, the newest first and the last one last, and what it holds. */
function worldOf(runs: readonly (readonly ListEntry[])[], last: readonly ListEntry[], lastTableBytes = 32 * kib) {
  const world = new TableWorld()
  const bottom = world.write(last, lastTableBytes)
  const upper = [...runs].reverse().map((entries) => world.write(entries, 32 * kib))
  world.levels = { upper: upper.reverse(), last: bottom }
  return { world, entries: withValue(newestOf([...runs, last])) }
}

/** Runs a plan; after every step the world holds `entries`, durably and in a proper last level. */
function check(
  world: TableWorld,
  plan: MergePlan<Table> | undefined,
  entries: readonly ListEntry[],
  says = '',
): { inputBytes: number; outputBytes: number } {
  assert.ok(plan, `${says}: there is a plan`)
  const expected = show(entries)
  const result = runSteps(
    merge(
      world.context(limits, (step) => checkStep(world, step, expected, says)),
      plan,
    ),
  )
  assert.equal(world.leftovers(), [], `${says}: files are left`)
  assert.ok(world.steps.at(-1)!.isFinal, says)
  return result
}

function checkStep(world: TableWorld, step: MergeStep, expected: readonly string[], says: string): void {
  assert.equal(show(withValue(world.entries())), expected, `${says}: step ${world.steps.length}`)
  for (const { meta } of world.levels.last) assert.is(meta.tombstoneCount, 0, `${says}: a deletion in the last level`)
  for (const { fileNumber } of step.add) {
    assert.ok(world.sim.isDurable(`store/${tableName(fileNumber)}`), `${says}: file ${fileNumber} is not durable`)
  }
  assert.ok(world.sim.isDurable('store') || world.leftovers().length === 0, `${says}: the names are not durable`)
}

/** Random levels as a store may have them. */
function randomWorld(random: SeededRandom) {
  const range = random.pick([40, 400, 4000])
  const style = {
    spaces: random.pick([1, 1, 2]),
    deletes: random.pick([0, 0.2, 0.9]),
    value: (r: SeededRandom) => r.bytes(r.int(r.pick([8, 300]))),
  }
  const list = (count: number, deletes = style.deletes): ListEntry[] => {
    // Some runs lie in a part of the keys only.
    const from = random.chance(0.5) ? 0 : random.int(range)
    const width = random.chance(0.5) ? range : 1 + random.int(range)
    const key = (r: SeededRandom): Buffer => Buffer.from(String(from + r.int(width)).padStart(5, '0'))
    return randomEntries(random, { ...style, count, deletes, key })
  }
  const runs = Array.from({ length: random.between(1, 6) }, () => list(1 + random.int(random.pick([5, 200]))))
  const last = random.chance(0.2) ? [] : list(random.int(1000), 0)
  return worldOf(runs, last, random.pick([4, 10, 32]) * kib)
}

/** A plan for any of the merges that these levels allow. */
function randomPlan({ levels }: TableWorld, random: SeededRandom): MergePlan<Table> {
  const { upper, last } = levels
  const from = random.int(upper.length)
  const to = random.between(from + 1, upper.length)
  const chosen = random.chance(0.5) ? chooseMerge(levels, { ...limits, maxUpperShare: random.next() }) : undefined
  if (chosen !== undefined) return chosen
  if (random.chance(0.3)) return { kind: 'upper', runs: upper.slice(from, to), dropDeleted: false }
  return { kind: 'last', runs: upper.slice(from), last }
}

test('random merges change nothing at any of their steps', () => {
  let steps = 0
  for (const seed of seeds(100)) {
    const random = new SeededRandom(seed)
    const { world, entries } = randomWorld(random)
    const plan = randomPlan(world, random)
    check(world, plan, entries, `SEED=${seed}, ${plan.kind}`)
    steps += world.steps.length
    world.close()
    assert.equal(world.fs.open, [], `SEED=${seed}: files are open`)
  }
  assert.ok(steps > 100 || process.env['SEED'] !== undefined, `${steps} steps`)
})

test('returned anywhere, the steps that were done stand and nothing else is left', () => {
  for (const seed of seeds(15)) {
    const build = () => {
      const random = new SeededRandom(seed)
      const { world, entries } = randomWorld(random)
      return { world, entries, plan: randomPlan(world, random) }
    }
    let total = 0
    const whole = build()
    runSteps(merge(whole.world.context(limits), whole.plan), () => {
      total += 1
    })
    for (let at = 0; at <= total; at += 1 + Math.floor(total / 12)) {
      const { world, entries, plan } = build()
      const steps = merge(world.context(limits), plan)
      for (let i = 0; i < at; i++) {
        const { done, value } = steps.next()
        if (done !== true) value?.block()
      }
      steps.return({ inputBytes: 0, outputBytes: 0 })
      const says = `SEED=${seed}, after ${at} of ${total} steps`
      assert.equal(show(withValue(world.entries())), show(entries), says)
      assert.equal(world.leftovers(), [], `${says}: files are left`)
      world.close()
      assert.equal(world.fs.open, [], `${says}: files are open`)
    }
  }
})

test('a merge that was broken off is begun anew with what its steps left', () => {
  for (const seed of seeds(15)) {
    const random = new SeededRandom(seed)
    const { world, entries } = randomWorld(random)
    for (let round = 0; world.levels.upper.length > 0 && round < 20; round++) {
      const steps = merge(world.context(limits), mergeAll(world.levels)!)
      for (let left = random.int(30) + round; left > 0; left--) {
        const { done, value } = steps.next()
        if (done === true) break
        value?.block()
      }
      steps.return({ inputBytes: 0, outputBytes: 0 })
      assert.equal(show(withValue(world.entries())), show(entries), `SEED=${seed}, round ${round}`)
    }
    assert.is(world.levels.upper.length, 0, `SEED=${seed}`)
  }
})

test('when the Nth operation fails, the steps that were done stand and nothing else is left', () => {
  const last = numbered(0, 900, 'old')
  const runs = [numbered(100, 300, 'new', 2), deleted(numbered(0, 200, '', 3))]
  let failures = 0
  for (let at = 1; ; at++) {
    const { world, entries } = worldOf(runs, last)
    const plan = mergeAll(world.levels)!
    // Opening and removing tables is the version's work, which the world does on the disk itself.
    const fault = world.fs.fail({ kinds: failing, at, code: 'EIO', path: /./ })
    let error: unknown
    try {
      runSteps(merge(world.context(limits), plan))
    } catch (cause) {
      error = cause
    }
    world.fs.heal()
    if (fault.failures === 0) break
    failures += 1
    assert.ok(error instanceof Error, `operation ${at}`)
    assert.equal(show(withValue(world.entries())), show(entries), `operation ${at}`)
    world.close()
  }
  assert.ok(failures > 30, `${failures} operations`)
})

test('damage in a source ends the merge; no entry is lost', () => {
  const { world } = worldOf([numbered(0, 300, 'new')], numbered(0, 600, 'old'))
  const victim = `store/${tableName(world.levels.last[1]!.meta.fileNumber)}`
  const content = world.sim.contentOf(victim)
  content[5000] = content[5000]! ^ 1
  world.sim.tamper(victim, content)
  const before = numbersOf(world.levels.upper.flat())
  assert.throws(
    () => runSteps(merge(world.context(limits), mergeAll(world.levels)!)),
    (error: unknown) => (error as { code?: unknown }).code === 'ERR_STORE_CORRUPT',
  )
  assert.equal(numbersOf(world.levels.upper.flat()), before, 'the merged run is still there')
  assert.equal(world.leftovers(), [])
})

test('the last level is replaced part by part: space for about two tables is enough', () => {
  const { world, entries } = worldOf([numbered(0, 1500, 'new', 4)], numbered(0, 6000, 'old'))
  const tables = world.levels.last.length
  assert.ok(tables > 20)
  const before = world.bytes
  let most = 0
  world.fs.after = ({ kind }) => {
    if (kind === 'sync') most = Math.max(most, world.bytes)
  }
  const { inputBytes, outputBytes } = check(world, mergeAll(world.levels), entries)
  assert.is(inputBytes, before)
  assert.ok(world.steps.length >= tables / 2, `${world.steps.length} steps for ${tables} tables`)
  assert.ok(most - before < 3 * limits.tableBytes, `${most - before} bytes more than before`)
  assert.is(outputBytes, world.bytes)
})

test('what does not fit into one table is divided evenly, and small leftovers are joined', () => {
  // Each part grows a little above the limit: half full tables, no crumbs.
  const big: LevelLimits = { ...defaultLimits, tableBytes: 256 * kib, smallTableBytes: 64 * kib }
  const world = new TableWorld()
  const last = world.write(numbered(0, 20_000, 'old', 2, 10), 250 * kib)
  const run = world.write(numbered(1, 2000, 'new', 20, 10), 256 * kib)
  world.levels = { upper: [run], last }
  runSteps(merge(world.context(big), mergeAll(world.levels)!))
  const sizes = world.levels.last.map(({ meta }) => meta.byteLength)
  assert.ok(last.length >= 3, `${last.length} tables before`)
  for (const size of sizes.slice(0, -1)) assert.ok(size > 100 * kib && size < 200 * kib, sizes.join(', '))

  // Small tables become few.
  const many = new TableWorld()
  many.levels = {
    upper: [many.write(numbered(0, 200, 'new', 10), 32 * kib)],
    last: many.write(numbered(0, 2000, 'old'), 3 * kib),
  }
  assert.ok(many.levels.last.length > 50)
  runSteps(merge(many.context(limits), mergeAll(many.levels)!))
  assert.ok(many.levels.last.length < 28, `${many.levels.last.length} tables`)
})

test('a moved run costs nothing', () => {
  const { world, entries } = worldOf([numbered(5000, 300, 'new')], numbered(0, 1000, 'old'))
  const [run] = world.levels.upper
  world.fs.resetCounts()
  const plan = chooseMerge(world.levels, limits)
  assert.is(plan?.kind, 'move')
  const { outputBytes } = check(world, plan, entries)
  assert.is(outputBytes, 0)
  assert.is(world.fs.counts.write, 0)
  assert.is(world.levels.upper.length, 0)
  assert.ok(run!.every((table) => world.levels.last.includes(table)))
})

test('tables that a merge does not touch stay, and those of a run that touch nothing are moved', () => {
  const runs = [[...numbered(1000, 30, 'new', 3), ...numbered(9000, 600, 'new')]]
  const world = new TableWorld()
  const last = world.write(numbered(0, 3000, 'old'), 32 * kib)
  const upper = [...world.write(runs[0]!.slice(0, 30), 32 * kib), ...world.write(runs[0]!.slice(30), 32 * kib)]
  world.levels = { upper: [upper], last }
  const entries = newestOf([...runs, numbered(0, 3000, 'old')])
  const { inputBytes } = check(world, mergeAll(world.levels), entries)
  const kept = last.filter((table) => world.levels.last.includes(table))
  assert.is(kept.length, last.length - 1, 'one table was written anew')
  const moved = upper.filter((table) => world.levels.last.includes(table))
  assert.ok(moved.length >= 2)
  assert.ok(inputBytes < 2 * limits.tableBytes)
})

test('a table that is covered but gets nothing new stays', () => {
  const run = [...numbered(0, 2, 'new'), ...numbered(2999, 1, 'new')]
  const { world, entries } = worldOf([run], numbered(0, 3000, 'old'))
  const last = world.levels.last
  check(world, mergeAll(world.levels), entries)
  const kept = last.filter((table) => world.levels.last.includes(table))
  assert.is(kept.length, last.length - 2, 'the first and the last were written anew')
})

test('deletions: kept above, gone below, and everything can be deleted', () => {
  const old = numbered(0, 1000, 'old')
  const { world } = worldOf([deleted(old)], old)
  check(world, mergeAll(world.levels), [])
  assert.equal(world.levels, { upper: [], last: [] })
  assert.equal(world.sim.readdirSync('store'), [])

  const above = worldOf([deleted(numbered(0, 10, '')), numbered(0, 20, 'new')], numbered(0, 30, 'old'))
  const runs = above.world.levels.upper
  check(above.world, { kind: 'upper', runs, dropDeleted: false }, above.entries)
  assert.is(above.world.levels.upper.length, 1)
  assert.is(above.world.levels.upper[0]![0]!.meta.tombstoneCount, 10)

  const nothing = worldOf([deleted(numbered(0, 10, '')), numbered(0, 10, 'new')], [])
  check(nothing.world, { kind: 'upper', runs: nothing.world.levels.upper, dropDeleted: true }, [])
  assert.equal(nothing.world.levels, { upper: [], last: [] })
})

test('a flush and a merge of newer runs may come between the steps', () => {
  const { world } = worldOf([numbered(0, 500, 'middle', 2)], numbered(0, 2000, 'old'))
  const lists = [numbered(0, 500, 'middle', 2), numbered(0, 2000, 'old')]
  let round = 0
  const context = world.context(limits, () => {
    round += 1
    const flushed = round % 2 === 1 ? numbered(round, 40, `new ${round}`) : deleted(numbered(900, 50, ''))
    lists.unshift(flushed)
    world.levels = { ...world.levels, upper: [world.write(flushed), ...world.levels.upper] }
    if (world.levels.upper.length > 4) {
      const runs = world.levels.upper.slice(0, 3)
      runSteps(merge(world.context(limits), { kind: 'upper', runs, dropDeleted: false }))
    }
    assert.equal(show(withValue(world.entries())), show(withValue(newestOf(lists))), `round ${round}`)
  })
  runSteps(merge(context, mergeAll(world.levels)!))
  assert.ok(round > 4)
  assert.equal(show(withValue(world.entries())), show(withValue(newestOf(lists))))
  assert.equal(world.leftovers(), [])
})

test('a step whose runs are gone is refused', () => {
  const { world } = worldOf([numbered(0, 5, 'new')], [])
  const step: MergeStep = { level: 'upper', add: [], remove: [99], isFinal: true }
  assert.throws(() => applyStep(world.levels, step, world.open), /the runs of a merge are gone/)
})

/** Flushes `flush(i)` again and again, merges whenever it is worth it, and returns what that cost. */
function longRun(flushes: number, flush: (index: number) => ListEntry[]) {
  const world = new TableWorld()
  const lists: ListEntry[][] = []
  let flushedBytes = 0
  let mostRuns = 0
  for (let i = 0; i < flushes; i++) {
    const entries = flush(i)
    lists.unshift(entries)
    const run = world.write(entries, limits.tableBytes)
    flushedBytes += run.reduce((sum, { meta }) => sum + meta.byteLength, 0)
    world.levels = { ...world.levels, upper: [run, ...world.levels.upper] }
    mostRuns = Math.max(mostRuns, world.levels.upper.length)
    for (let plan = chooseMerge(world.levels, limits); plan !== undefined; plan = chooseMerge(world.levels, limits)) {
      runSteps(merge(world.context(limits), plan))
    }
  }
  assert.equal(show(withValue(world.entries())), show(withValue(newestOf(lists))))
  assert.equal(world.leftovers(), [])
  const lastBytes = world.levels.last.reduce((sum, { meta }) => sum + meta.byteLength, 0)
  const upperBytes = world.bytes - lastBytes
  const writeAmplification = world.fs.bytesWritten / flushedBytes
  return { world, mostRuns, lastBytes, upperBytes, writeAmplification, tables: world.levels.last.length }
}

test('a long run of random overwrites: space, bytes written, runs and tables stay bounded', () => {
  const random = new SeededRandom(5)
  const result = longRun(150, (i) => {
    const key = (r: SeededRandom): Buffer => Buffer.from(String(r.int(3000)).padStart(8, '0'))
    return randomEntries(random, { count: 120, spaces: 1, deletes: 0.05, key, value: () => Buffer.alloc(80, i) })
  })
  const { mostRuns, upperBytes, lastBytes, writeAmplification, tables } = result
  assert.ok(mostRuns <= 8, `${mostRuns} runs`)
  assert.ok(upperBytes <= 0.51 * lastBytes, `${upperBytes} bytes above ${lastBytes}`)
  assert.ok(writeAmplification < 6, `${writeAmplification.toFixed(1)} times written`)
  assert.ok(tables <= 2 * Math.ceil(lastBytes / limits.tableBytes) + 1, `${tables} tables of ${lastBytes} bytes`)
})

test('keys that only grow are written about once, whatever the size of a flush', () => {
  for (const [count, most] of [
    [200, 1.01],
    [40, 2.6],
  ] as const) {
    const { mostRuns, writeAmplification, world } = longRun(60, (i) => numbered(i * count, count, 'once'))
    assert.ok(writeAmplification <= most, `flushes of ${count}: ${writeAmplification.toFixed(2)} times written`)
    assert.ok(mostRuns <= 5, `${mostRuns} runs`)
    assert.ok(world.levels.last.length <= 80)
  }
})

test.run()

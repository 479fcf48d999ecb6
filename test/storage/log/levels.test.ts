/** Which merge is chosen, how merges into the last level are divided, when writers are held back. */
import * as assert from 'uvu/assert'
import {
  type Busy,
  chooseMerge,
  compareBounds,
  defaultLimits,
  type LevelLimits,
  type LevelTable,
  mergeAll,
  overlapping,
  pressure,
  whileLoading,
} from '../../../src/storage/log/levels.ts'
import { planPartitions } from '../../../src/storage/log/partitions.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { seeds } from '../support/list-cursor.ts'
import { numbersOf, runOf, tableOf } from '../support/table-metas.ts'

const test = suite('levels')

/** `move 3`, `last 2 3`, `upper 1 2 3 4` (`dropping`): a plan in short. */
function planned(upper: readonly string[], last: string, busy?: Busy, given: Partial<LevelLimits> = {}): string {
  const limits = { ...defaultLimits, smallBytes: 0, ...given }
  const plan = chooseMerge({ upper: upper.map(runOf), last: runOf(last) }, limits, busy)
  if (plan === undefined) return 'nothing'
  if (plan.kind === 'move') return `move ${numbersOf(plan.run).join('+')}`
  const runs = plan.runs.map((run) => numbersOf(run).join('+')).join(' ')
  if (plan.kind === 'last') {
    assert.is(plan.last.length, runOf(last).length)
    return `last ${runs}`
  }
  return `upper ${runs}${plan.dropDeleted ? ' dropping' : ''}`
}

const wide = 'a-z'
const cases: readonly { name: string; upper: string[]; last?: string; plan: string; busy?: Busy }[] = [
  { name: 'an empty store', upper: [], plan: 'nothing' },
  { name: 'nothing new', upper: [], last: '1:a-z 16', plan: 'nothing' },
  // Moving.
  { name: 'the first run', upper: ['1:a-z 16'], plan: 'move 1' },
  { name: 'even a small one', upper: ['1:a-z 0.1'], plan: 'move 1' },
  { name: 'behind the last level', upper: ['3:n-z 16'], last: '1:a-c 30, 2:d-m 30', plan: 'move 3' },
  { name: 'before it', upper: ['3:a-b 16'], last: '1:c-d 30', plan: 'move 3' },
  { name: 'into a gap', upper: ['3:d-e 16, 4:i-j 16'], last: '1:a-c 30, 2:f-h 30', plan: 'move 3+4' },
  { name: 'not when one table overlaps', upper: ['3:d-e 16, 4:h-j 16'], last: '1:a-c 90, 2:f-h 90', plan: 'nothing' },
  { name: 'touching is overlapping', upper: ['3:c-e 9'], last: '1:a-c 30', plan: 'nothing' },
  { name: 'another space is elsewhere', upper: ['3:1/a-1/z 16'], last: '1:a-z 30', plan: 'move 3' },
  { name: 'not with deletions', upper: ['3:n-z 16 1'], last: '1:a-c 90', plan: 'nothing' },
  { name: 'not when it is small', upper: ['3:n-z 4'], last: '1:a-c 90', plan: 'nothing' },
  { name: 'the oldest first', upper: ['3:x-z 9', '2:u-w 9'], last: '1:a-c 90', plan: 'move 2' },
  { name: 'past older ones beside it', upper: ['3:x-z 9', '2:a-c 9'], last: '1:a-c 90', plan: 'move 3' },
  { name: 'not past older ones below it', upper: ['3:x-z 9', '2:b-y 9'], last: '1:a-c 90', plan: 'nothing' },
  { name: 'newer ones above it do not matter', upper: ['3:a-z 9', '2:d-y 9'], last: '1:a-c 90', plan: 'move 2' },
  // Into the last level.
  { name: 'half of it', upper: ['3:a-z 15'], last: '1:a-z 30', plan: 'nothing' },
  { name: 'more than half of it', upper: ['3:a-z 15.1'], last: '1:a-z 30', plan: 'last 3' },
  { name: 'all together', upper: ['4:a-z 8', '3:a-z 8'], last: '1:a-z 30', plan: 'last 4 3' },
  { name: 'nothing there, but deletions', upper: ['1:a-z 16 1'], plan: 'last 1' },
  { name: 'deletions weigh what they delete', upper: ['3:a-z 1 17000'], last: '1:a-z 30', plan: 'last 3' },
  { name: 'fewer of them', upper: ['3:a-z 1 14000'], last: '1:a-z 30', plan: 'nothing' },
  // Upper runs.
  { name: 'three of a size', upper: ['4:a-z 16', '3:a-z 16', '2:a-z 16'], last: '1:a-z 999', plan: 'nothing' },
  {
    name: 'four of a size',
    upper: ['5:a-z 16', '4:a-z 12', '3:a-z 18', '2:a-z 16'],
    last: '1:a-z 999',
    plan: 'upper 5 4 3 2',
  },
  {
    name: 'not of one size',
    upper: ['5:a-z 16', '4:a-z 11', '3:a-z 17', '2:a-z 16'],
    last: '1:a-z 999',
    plan: 'nothing',
  },
  {
    name: 'newer than the large ones',
    upper: ['6:a-z 16', '5:a-z 16', '4:a-z 16', '3:a-z 16', '2:a-z 64'],
    last: '1:a-z 999',
    plan: 'upper 6 5 4 3',
  },
  {
    name: 'below a new one',
    upper: ['6:a-z 1', '5:a-z 16', '4:a-z 16', '3:a-z 16', '2:a-z 16'],
    last: '1:a-z 999',
    plan: 'upper 5 4 3 2',
  },
  {
    name: 'as many as there are',
    upper: ['6:a-z 9', '5:a-z 10', '4:a-z 11', '3:a-z 9', '2:a-z 10'],
    last: '1:a-z 999',
    plan: 'upper 6 5 4 3 2',
  },
  {
    name: 'with the oldest, and nothing below',
    upper: ['5:m-z 7 1', '4:m-z 7', '3:m-z 7', '2:m-z 7'],
    last: '1:a-l 999',
    plan: 'upper 5 4 3 2 dropping',
  },
  {
    name: 'with the oldest, but something below',
    upper: ['5:m-z 7 1', '4:m-z 7', '3:m-z 7', '2:m-z 7'],
    last: '1:a-m 999',
    plan: 'upper 5 4 3 2',
  },
  {
    name: 'without the oldest',
    upper: ['6:m-z 7 1', '5:m-z 7', '4:m-z 7', '3:m-z 7', '2:m-z 20'],
    last: '1:a-m 999',
    plan: 'upper 6 5 4 3',
  },
  {
    name: 'many runs of any size',
    upper: ['7:a-z 64', '6:a-z 1', '5:a-z 10', '4:a-z 3', '3:a-z 20', '2:a-z 7'],
    last: '1:a-z 999',
    plan: 'upper 6 5 4',
  },
  {
    name: 'many runs: large ones are left alone, small ones taken in',
    upper: ['8:a-z 16', '7:a-z 16', '6:a-z 16', '5:a-z 1', '4:a-z 64', '3:a-z 64', '2:a-z 64'],
    last: '1:a-z 999',
    plan: 'upper 8 7 6 5',
  },
  // Beside a merge that runs.
  {
    name: 'new runs while old ones go into the last level',
    upper: ['9:b-y 9', '8:b-y 9', '7:b-y 9', '6:b-y 9', '2:a-z 60'],
    last: '1:a-z 100',
    busy: { files: new Set([1, 2]), last: true },
    plan: 'upper 9 8 7 6',
  },
  {
    name: 'no move meanwhile, and no second merge into it',
    upper: ['9:x-z 90', '2:a-c 60'],
    last: '1:a-c 100',
    busy: { files: new Set([1, 2]), last: true },
    plan: 'nothing',
  },
  {
    name: 'only what is older than a merge of upper runs goes into the last level',
    upper: ['5:a-z 16', '4:a-z 16', '3:a-z 16', '2:a-z 60'],
    last: '1:a-z 100',
    busy: { files: new Set([3, 4, 5]), last: false },
    plan: 'last 2',
  },
  {
    name: 'a window does not reach over a busy run',
    upper: ['7:a-z 9', '6:a-z 9', '5:a-z 9', '4:a-z 9', '3:a-z 9', '2:a-z 9'],
    last: '1:a-z 999',
    busy: { files: new Set([5, 4]), last: false },
    plan: 'nothing',
  },
  {
    name: 'too many runs, and few free ones',
    upper: Array.from({ length: 8 }, (_, i) => `${9 - i}:a-z 9`),
    last: '1:a-z 999',
    busy: { files: new Set([8, 5, 3]), last: true },
    plan: 'upper 7 6',
  },
]

for (const { name, upper, last = '', plan, busy } of cases) {
  test(name, () => assert.is(planned(upper, last, busy), plan))
}

test('a store with little in few upper runs waits', () => {
  const small = { smallBytes: defaultLimits.smallBytes }
  const three = ['5:a-z 16', '4:a-z 16', '3:a-z 16']
  assert.is(planned(three, '1:a-z 30', undefined, small), 'nothing')
  assert.is(planned(['6:a-z 16', ...three], '1:a-z 30', undefined, small), 'last 6 5 4 3')
  assert.is(planned(['5:a-z 60', '4:a-z 16'], '1:a-z 99', undefined, small), 'last 5 4')
  assert.is(planned(['3:a-z 16 17000'], '1:a-z 99', undefined, small), 'nothing')
  assert.is(planned(['3:a-z 16 60000'], '1:a-z 99', undefined, small), 'last 3')
})

test('while it is loaded, 96 runs of one size are let be, and none goes into the last level', () => {
  const runs = (count: number): string[] => Array.from({ length: count }, (_, i) => `${200 - i}:a-z 16`)
  const loading = whileLoading(defaultLimits)
  assert.is(planned(runs(95), '1:a-z 16', undefined, loading), 'nothing')
  assert.match(planned(runs(96), '1:a-z 16', undefined, loading), /^upper 200 199 .* 105$/)
  assert.is(planned(['3:n-z 16'], '1:a-c 30', undefined, loading), 'move 3')
  assert.equal(
    [103, 104, 111, 112].map((count) => pressure(count, loading)),
    ['none', 'slow', 'slow', 'stop'],
  )
})

test('all of it', () => {
  assert.is(mergeAll({ upper: [], last: runOf('1:a-z 1') }), undefined)
  const plan = mergeAll({ upper: [runOf('3:a-b 1'), runOf('2:c-d 1')], last: runOf('1:a-z 1') })
  assert.ok(plan?.kind === 'last')
  assert.equal(plan.runs.map(numbersOf), [[3], [2]])
})

test('pressure by the number of runs', () => {
  assert.equal(
    [0, 7, 8, 15, 16, 99].map((runs) => pressure(runs)),
    ['none', 'none', 'slow', 'slow', 'stop', 'stop'],
  )
})

/** `wall [d, g) 5+6 | 7 / 2`: a partition in short. */
function partitioned(runs: readonly string[], last: string): string[] {
  const { partitions, moved } = planPartitions(runs.map(runOf), runOf(last), defaultLimits)
  const lines = partitions.map((partition) => {
    const { from, to } = partition.range
    const upper = partition.upper.map((run) => numbersOf(run).join('+')).join(' | ')
    const range = `[${from?.key.toString() ?? ''}, ${to?.key.toString() ?? ''})`
    const old = partition.last === undefined ? '' : `/ ${partition.last.meta.fileNumber}`
    return [partition.wall ? 'wall' : '', range, upper, old].filter((part) => part !== '').join(' ')
  })
  return moved.length === 0 ? lines : [...lines, `moved ${numbersOf(moved).join(' ')}`]
}

const divisions: readonly { name: string; runs: string[]; last: string; parts: string[] }[] = [
  { name: 'nothing below', runs: ['2:a-z 1', '1:a-z 1'], last: '', parts: ['[, ) 2 | 1'] },
  { name: 'one table', runs: ['2:a-z 1'], last: '1:m-n 30', parts: ['[, ) 2 / 1'] },
  {
    name: 'a part for each table',
    runs: [`9:${wide} 16`],
    last: '1:b-f 30, 2:g-k 30, 3:p-t 30',
    parts: ['[, g) 9 / 1', '[g, p) 9 / 2', '[p, ) 9 / 3'],
  },
  {
    name: 'a run of several tables takes part where it may have keys',
    runs: ['9:a-c 4, 8:d-j 4, 7:k-z 4', '6:a-i 16'],
    last: '1:a-h 30, 2:j-z 30',
    parts: ['[, j) 9+8 | 6 / 1', '[j, ) 8+7 / 2'],
  },
  {
    name: 'what begins where a part ends is not in it',
    runs: ['8:g-z 4, 9:zz-zz 1'],
    last: '1:a-g 30, 2:zz-zzz 30',
    parts: ['[, zz) 8 / 1', '[zz, ) 9 / 2'],
  },
  {
    name: 'tables that nothing overlaps stay',
    runs: ['9:p-q 4 1'],
    last: '1:a-c 30, 2:e-g 30, 3:o-r 30, 4:s-z 30',
    parts: ['[, a)', 'wall [a, e)', 'wall [e, o)', '[o, s) 9 / 3', 'wall [s, )'],
  },
  {
    name: 'new keys between tables that stay',
    runs: ['9:d-n 4'],
    last: '1:a-c 30, 2:o-r 30',
    parts: ['[, a)', 'wall [a, o) 9', 'wall [o, )'],
  },
  {
    name: 'a small table takes what comes beside it',
    runs: ['9:d-n 4'],
    last: '1:a-c 30, 2:o-r 3, 3:s-z 3',
    parts: ['[, a)', 'wall [a, o) 9', '[o, s) / 2', 'wall [s, )'],
  },
  {
    name: 'a large table of a run that meets nothing is moved',
    runs: ['8:a-c 16, 9:h-k 16', '7:b-d 4'],
    last: '1:b-f 30, 2:n-p 30',
    parts: ['[, h) 8 | 7 / 1', 'wall [h, n)', 'wall [n, )', 'moved 9'],
  },
  {
    name: 'not over another run, not with deletions, not when small',
    runs: ['8:h-k 16', '5:a-b 16 1', '7:i-l 16, 6:s-t 4'],
    last: '',
    parts: ['[, ) 8 | 5 | 7+6'],
  },
]

for (const { name, runs, last, parts } of divisions) {
  test(`parts: ${name}`, () => assert.equal(partitioned(runs, last), parts))
}

/** A random run: ascending, disjoint tables with keys of two letters. */
function randomRun(random: SeededRandom, numbers: () => number): LevelTable[] {
  const keys = Array.from({ length: 2 * random.int(8) }, () => {
    return String.fromCharCode(97 + random.int(26), 97 + random.int(26))
  })
  const ends = [...new Set(keys)].sort()
  const run: LevelTable[] = []
  for (let i = 0; i + 1 < ends.length; i += 2) {
    const tombstones = random.chance(0.5) ? '' : ' 5'
    run.push(tableOf(`${numbers()}:${ends[i]}-${ends[i + 1]} ${random.pick([1, 9, 30])}${tombstones}`))
  }
  return run
}

test('parts of random levels: no gap, every table at its place, nothing across a wall', () => {
  for (const seed of seeds(300)) {
    const random = new SeededRandom(seed)
    let number = 0
    const numbers = (): number => ++number
    const runs = Array.from({ length: random.between(1, 4) }, () => randomRun(random, numbers))
    const last = randomRun(random, numbers)
    const { partitions, moved } = planPartitions(runs, last, defaultLimits)
    const says = `SEED=${seed}`
    assert.is(partitions[0]!.range.from, undefined, says)
    assert.is(partitions.at(-1)!.range.to, undefined, says)
    for (let i = 1; i < partitions.length; i++) {
      assert.is(partitions[i - 1]!.range.to, partitions[i]!.range.from, says)
    }
    const inside = (table: LevelTable): typeof partitions =>
      partitions.filter(
        ({ range: { from, to } }) =>
          (from === undefined || compareBounds(table.meta.max, from) >= 0) &&
          (to === undefined || compareBounds(table.meta.min, to) < 0),
      )
    for (const table of last) {
      const places = inside(table)
      assert.is(places.length, 1, `${says}: a table of the last level lies in one part`)
      assert.ok(places[0]!.last === table || places[0]!.wall, `${says}: it is merged there, or stays`)
    }
    for (const table of runs.flat()) {
      if (moved.includes(table)) {
        assert.is(inside(table).length, 1, says)
        assert.ok(inside(table)[0]!.wall, says)
        continue
      }
      const using = partitions.filter(({ upper }) => upper.some((run) => run.includes(table)))
      assert.equal(using, inside(table), `${says}: a table takes part wherever it may have keys`)
      for (const { wall, range } of using) {
        const kept = [...last, ...moved].find(({ meta }) => meta.min === range.from)
        if (wall && kept !== undefined) {
          assert.equal(overlapping([table], kept.meta.min, kept.meta.max), [], `${says}: nothing lies in what stays`)
        }
      }
    }
  }
})

test.run()

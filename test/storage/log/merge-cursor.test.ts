/** MergeCursor: the newest version of each key, whatever the sources, in both directions. */
import * as assert from 'uvu/assert'
import { MergeCursor } from '../../../src/storage/log/merge-cursor.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import {
  currentEntry,
  ListCursor,
  type ListEntry,
  newestOf,
  type RandomEntries,
  randomEntries,
  readAll,
  seeds,
  show,
} from '../support/list-cursor.ts'

const test = suite('merge cursor')

/** `a=1 b=× 2:c=3`: entries in short. */
function list(text: string): ListEntry[] {
  return text.split(' ').flatMap((part) => {
    const match = /^(?:(\d+):)?(.*)=(.*)$/.exec(part)
    if (match === null) return []
    const [, space, key, value] = match
    return [
      { space: Number(space ?? 0), key: Buffer.from(key!), value: value === '×' ? undefined : Buffer.from(value!) },
    ]
  })
}

const cases: readonly { name: string; sources: string[]; merged: string; kept?: string }[] = [
  { name: 'no source', sources: [], merged: '' },
  { name: 'empty sources', sources: ['', '', ''], merged: '' },
  { name: 'one source', sources: ['a=1 b=× c=3'], merged: 'a=1 b=× c=3', kept: 'a=1 c=3' },
  { name: 'one behind the other', sources: ['c=3 d=4', 'a=1 b=2'], merged: 'a=1 b=2 c=3 d=4' },
  { name: 'in turns', sources: ['a=1 c=3', 'b=2 d=4'], merged: 'a=1 b=2 c=3 d=4' },
  { name: 'the newest wins', sources: ['b=new', 'a=1 b=old c=3', 'b=oldest'], merged: 'a=1 b=new c=3' },
  { name: 'the same keys everywhere', sources: ['a=1 b=2', 'a=3 b=4', 'a=5 b=6'], merged: 'a=1 b=2' },
  {
    name: 'a deletion hides older ones',
    sources: ['b=×', 'a=1 b=2', 'b=3 c=4'],
    merged: 'a=1 b=× c=4',
    kept: 'a=1 c=4',
  },
  { name: 'a value after a deletion', sources: ['a=1', 'a=×'], merged: 'a=1' },
  { name: 'only deletions', sources: ['a=× b=×', 'c=×'], merged: 'a=× b=× c=×', kept: '' },
  { name: 'spaces come first', sources: ['1:a=1 2:=2', 'z=3 1:a=9'], merged: 'z=3 1:a=1 2:=2' },
  { name: 'the empty key and prefixes', sources: ['=0 ab=2', 'a=1 abc=3'], merged: '=0 a=1 ab=2 abc=3' },
]

for (const { name, sources, merged, kept } of cases) {
  test(name, () => {
    for (const reverse of [false, true]) {
      const turned = (entries: ListEntry[]): ListEntry[] => (reverse ? entries.reverse() : entries)
      const cursors = (): ListCursor[] => sources.map((text) => new ListCursor(turned(list(text))))
      assert.equal(show(readAll(new MergeCursor(cursors(), { reverse }))), show(turned(list(merged))))
      const without = new MergeCursor(cursors(), { reverse, dropDeleted: true })
      assert.equal(show(readAll(without)), show(turned(list(kept ?? merged))))
    }
  })
}

const styles: readonly (RandomEntries & { name: string })[] = [
  {
    name: 'few keys',
    count: 40,
    spaces: 3,
    deletes: 0.3,
    key: (random) => random.bytes(random.int(3)).map((byte) => byte & 0x83) as Buffer,
    value: (random) => random.bytes(random.int(4)),
  },
  {
    name: 'long prefixes',
    count: 200,
    spaces: 1,
    deletes: 0.1,
    key: (random) => Buffer.from(`${'prefix/'.repeat(random.pick([1, 12]))}${random.int(300)}`),
    value: (random) => random.bytes(random.int(20)),
  },
  {
    name: 'zeros at the end',
    count: 60,
    spaces: 1,
    deletes: 0.2,
    key: (random) => Buffer.from(`same${'\0'.repeat(random.int(9))}${random.pick(['', 'a', '\0b'])}`),
    value: (random) => random.bytes(2),
  },
  {
    name: 'many keys',
    count: 300,
    spaces: 2,
    deletes: 0.5,
    key: (random) => random.bytes(8),
    value: (random) => random.bytes(3),
  },
]

/** How many bytes all keys have in common, or fewer; undefined when they are of several spaces. */
function prefixOf(entries: readonly ListEntry[], random: SeededRandom): number | undefined {
  const [first] = entries
  if (first === undefined || entries.some(({ space }) => space !== first.space)) return undefined
  let length = first.key.length
  for (const { key } of entries) while (!key.subarray(0, length).equals(first.key.subarray(0, length))) length -= 1
  return random.chance(0.5) ? length : random.int(length + 1)
}

test('random sources against a map', () => {
  for (const seed of seeds(60)) {
    const random = new SeededRandom(seed)
    const style = random.pick(styles)
    const sources = Array.from({ length: random.between(1, 20) }, () => {
      // Sources of very different lengths, some of them empty.
      return randomEntries(random, { ...style, count: random.int(random.pick([1, 10, style.count])) })
    })
    const reverse = random.chance(0.5)
    const dropDeleted = random.chance(0.5)
    const cursors = sources.map((entries) => new ListCursor(reverse ? [...entries].reverse() : entries))
    let expected = newestOf(sources).filter(({ value }) => !dropDeleted || value !== undefined)
    if (reverse) expected = expected.reverse()
    const commonPrefix = random.chance(0.7) ? prefixOf(sources.flat(), random) : undefined
    const merge = new MergeCursor(cursors, { reverse, dropDeleted, commonPrefix })
    assert.equal(show(readAll(merge)), show(expected), `SEED=${seed}, ${style.name}, prefix ${commonPrefix}`)
    assert.ok(
      cursors.every(({ closed }) => closed > 0),
      `SEED=${seed}: sources are closed`,
    )
    const taken = sources.map((_, i) => merge.taken(i))
    assert.equal(
      taken,
      sources.map(({ length }) => length),
      `SEED=${seed}: every entry was taken`,
    )
  }
})

test('nothing is read before the first next, and the current entry stays while nobody moves on', () => {
  const first = new ListCursor(list('a=1 c=3'))
  first.failAt = 0
  const merge = new MergeCursor([first, new ListCursor(list('b=2'))])
  first.failAt = -1
  assert.ok(merge.next())
  const before = currentEntry(merge)
  assert.equal(show([before]), ['0:a=1'])
  assert.equal(show([currentEntry(merge)]), show([before]))
})

test('the error of a source passes through, at every later call too', () => {
  for (const failing of [0, 1, 2]) {
    for (const failAt of [0, 1, 2]) {
      const cursors = [list('a=1 b=2 c=3'), list('a=4 b=5 d=6'), list('b=7 e=8 f=9')].map((e) => new ListCursor(e))
      const broken = cursors[failing]!
      broken.failAt = failAt
      const merge = new MergeCursor(cursors)
      for (let i = 0; i < 2; i++) {
        assert.throws(
          () => {
            while (merge.next());
          },
          (error: unknown) => error === broken.failure,
        )
      }
      merge.close()
      assert.ok(cursors.every(({ closed }) => closed > 0))
    }
  }
})

test('close closes every source, also when one of them fails to; afterwards there is no entry', () => {
  const cursors = [list('a=1 b=2'), list('a=1'), list('c=1')].map((entries) => new ListCursor(entries))
  const failure = new Error('cannot close')
  cursors[0]!.close = () => {
    throw failure
  }
  const merge = new MergeCursor(cursors)
  assert.ok(merge.next())
  assert.throws(
    () => merge.close(),
    (error: unknown) => error === failure,
  )
  assert.ok(cursors[1]!.closed > 0 && cursors[2]!.closed > 0)
  assert.not(merge.next())
  assert.is(merge.keyBytes.length, 0)

  const twice = new MergeCursor([new ListCursor(list('a=1'))])
  twice.close()
  twice.close()
  assert.not(twice.next())
})

test.run()

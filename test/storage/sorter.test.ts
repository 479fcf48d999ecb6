/** Sorter and MergeSort against the order of Buffer.compare, in steps of any size, for keys that their words tell apart and others. */
import * as assert from 'uvu/assert'
import { MergeSort } from '../../src/storage/merge-sort.ts'
import { type KeyOrder, Sorter } from '../../src/storage/sorter.ts'
import { SeededRandom } from '../sim/random.ts'
import { suite } from '../support/suite.ts'
import { seeds } from './support/list-cursor.ts'

const test = suite('sorting keys')

/** Keys by entry number; counts how often two are compared. */
class Keys implements KeyOrder {
  comparisons = 0
  readonly #keys: readonly Buffer[]

  constructor(keys: readonly Buffer[]) {
    this.#keys = keys
  }

  compareEntries(a: number, b: number): number {
    this.comparisons += 1
    return this.#keys[a]!.compare(this.#keys[b]!)
  }

  commonPrefix(a: number, b: number, limit: number): number {
    const [left, right] = [this.#keys[a]!, this.#keys[b]!]
    let same = 0
    while (same < Math.min(limit, left.length, right.length) && left[same] === right[same]) same += 1
    return same
  }

  keyWord(entry: number, skip: number): number {
    const bytes = Buffer.alloc(6)
    this.#keys[entry]!.copy(bytes, 0, skip, skip + 6)
    return bytes.readUIntBE(0, 6)
  }
}

const kinds: Readonly<Record<string, (random: SeededRandom, i: number) => Buffer>> = {
  'any bytes': (random) => random.bytes(random.int(12)),
  'the same beginning': (random) => Buffer.from(`user/${'0'.repeat(12)}${random.int(1e9)}`),
  'words that mostly agree': (random) => Buffer.from(`${random.pick(['a', 'b'])}/of the same word/${random.int(1e9)}`),
  'zeros at the end': (random) => Buffer.concat([random.bytes(1), Buffer.alloc(random.int(40))]),
  'in order already': (_, i) => Buffer.from(String(i).padStart(9, '0')),
  'one differs in its first byte': (_, i) => Buffer.from(i === 4000 ? '!' : `a common beginning ${(i * 7919) % 9973}`),
}

for (const [name, key] of Object.entries(kinds)) {
  test(name, () => {
    for (const seed of seeds(4)) {
      const random = new SeededRandom(seed)
      const count = random.pick([0, 1, 2, 17, 700, 2048, 2049, 9000])
      const unique = new Map<string, Buffer>()
      for (let i = 0; i < count; i++) {
        const bytes = key(random, i)
        unique.set(bytes.toString('latin1'), bytes)
      }
      const list = [...unique.values()]
      const expected = Array.from(list.keys()).sort((a, b) => list[a]!.compare(list[b]!))
      for (const Sort of [Sorter, MergeSort]) {
        const sort = new Sort(new Keys(list), Int32Array.from(list.keys()))
        const units = random.pick([1, 100, 5000, 1e9])
        // A step of one unit does a little all the same: it ends.
        for (let steps = 0; !sort.step(units); steps++) assert.ok(steps < 100 + 100 * list.length, `SEED=${seed}`)
        assert.equal([...sort.result()], expected, `SEED=${seed}, ${Sort.name}, ${list.length} keys, ${units} units`)
      }
    }
  })
}

test('keys that their words tell apart are not compared', () => {
  const keys = new Keys(Array.from({ length: 5000 }, (_, i) => Buffer.from(`key ${(i * 7919) % 100_003}`)))
  const sorter = new Sorter(
    keys,
    Int32Array.from({ length: 5000 }, (_, i) => i),
  )
  const sorted = sorter.result()
  assert.is(keys.comparisons, 0)
  assert.is(new Set(sorted).size, 5000)
})

test.run()

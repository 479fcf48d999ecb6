/**
 * Flipping bits of a small store and opening it: it is as it was, or an exact prefix and says so, or refuses. Shared by the
 * short test (some bits) and the long one (all).
 */
import * as assert from 'uvu/assert'
import { diskWith, openDisk, scrub, type SmallStore, Tally } from './small-store.ts'

export interface FlipOptions {
  /** Every so many bits of each file; from a different one in each file. */
  readonly every: number
  /** Also scrub the store each time: no flip may stay unnoticed. */
  readonly scrubEvery: number
}

/** What may come of a flip in a file. */
function isAllowed(name: string, outcome: string): boolean {
  if (outcome === 'same') return true
  if (name === 'LOCK') return outcome === 'ERR_STORE_LOCKED'
  if (name.endsWith('.log')) return outcome === 'prefix'
  if (name.startsWith('MANIFEST')) return outcome === 'prefix' || outcome === 'ERR_STORE_CORRUPT'
  return outcome === 'ERR_STORE_CORRUPT'
}

/** Flips the bits one by one; throws at the first that does harm. Returns how many did what, by file. */
export async function flipBits({ files, states }: SmallStore, options: FlipOptions): Promise<Map<string, Tally>> {
  const tallies = new Map<string, Tally>()
  let count = 0
  for (const [name, content] of files) {
    const tally = new Tally()
    tallies.set(name, tally)
    for (let bit = count % options.every; bit < 8 * content.length; bit += options.every) {
      const where = `${name}, byte ${bit >>> 3}, bit ${bit & 7}`
      const flipped = Buffer.from(content)
      flipped[bit >>> 3]! ^= 1 << (bit & 7)
      const disk = diskWith(new Map([...files, [name, flipped]]))
      count += 1
      if (count % options.scrubEvery === 0 && name !== 'LOCK') {
        const { faults, notes } = scrub(disk)
        const found = [...faults, ...notes].some(({ file }) => file === name)
        assert.ok(found, `${where}: a scrub finds ${JSON.stringify(faults)} ${JSON.stringify(notes)}`)
      }
      const { state, code, error, recovered } = await openDisk(disk, states)
      const outcome = code ?? (state === states.length - 1 ? 'same' : 'prefix')
      tally.add(outcome)
      assert.ok(isAllowed(name, outcome), `${where}: ${outcome} ${error?.message ?? state}`)
      if (outcome === 'prefix') assert.ok(recovered.length > 0, `${where}: state ${state} without an event`)
      if (outcome === 'same') assert.equal(recovered, [], where)
      if (outcome === 'ERR_STORE_CORRUPT' && !name.startsWith('MANIFEST')) {
        assert.is(error?.file, name, where)
        assert.ok((error?.offset ?? Infinity) < content.length, where)
      }
    }
  }
  return tallies
}

/** Prints what was done as lines that the runner shows. */
export function printTallies(tallies: ReadonlyMap<string, Tally>): void {
  for (const [name, tally] of tallies) console.log(`note: ${name}: ${tally}`)
}

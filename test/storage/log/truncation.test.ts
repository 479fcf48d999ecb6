/** Every file of a small store cut off at every byte: a log or manifest leaves a prefix, anything else is refused by name. */
import * as assert from 'uvu/assert'
import { suite } from '../../support/suite.ts'
import { diskWith, openFiles, scrub, type SmallStore, smallStore, Tally } from '../support/small-store.ts'

const test = suite('log engine: files cut off')
let made: SmallStore
test.before(async () => {
  made = await smallStore()
})

const kinds = [
  ['.log', 'a prefix, told by an event unless it is cut between two batches'],
  ['MANIFEST', 'a prefix, told by an event, or damage'],
  ['CURRENT', 'damage'],
  ['.tbl', 'damage, with the name of the table and a place in it'],
] as const

test('the store has one of everything', async () => {
  const names = [...made.files.keys()].map((name) => name.replace(/\d+/, '')).sort()
  assert.equal(names, ['.log', '.log', '.tbl', '.tbl', 'CURRENT', 'LOCK', 'MANIFEST-'])
  const { state, recovered } = await openFiles(made.files, made.states)
  assert.is(state, made.states.length - 1)
  assert.equal(recovered, [])
  const { faults, files, entries } = scrub(diskWith(made.files))
  assert.equal([faults, files, entries], [[], 5, 14])
})

for (const [kind, what] of kinds) {
  test(`${kind} at every byte: ${what}`, async () => {
    const { files, states } = made
    const last = states.length - 1
    const tally = new Tally()
    for (const [name, content] of files) {
      if (!name.includes(kind)) continue
      for (let size = 0; size < content.length; size++) {
        const where = `${name} cut off at byte ${size} of ${content.length}`
        const cut = new Map([...files, [name, content.subarray(0, size)]])
        const { state, code, error, recovered, fs } = await openFiles(cut, states)
        tally.add(code ?? (recovered.length > 0 ? `prefix with event` : 'prefix without event'))
        if (state === undefined) {
          assert.is(code, 'ERR_STORE_CORRUPT', where)
          assert.ok(kind !== '.log', where)
          if (kind !== 'MANIFEST') assert.is(error?.file, name, where)
          if (kind === '.tbl')
            assert.ok(error?.offset !== undefined && error.offset <= size, `${where}: ${error?.message}`)
          // A refused store is left as it is, for whoever can mend it.
          for (const [one, bytes] of cut) {
            if (one !== 'LOCK')
              assert.ok(fs.contentOf(`/data/g/t/0/${one}`).equals(bytes), `${where}: ${one} has changed`)
          }
          continue
        }
        assert.ok(kind === '.log' || kind === 'MANIFEST', where)
        assert.ok(state < last, `${where}: nothing is lost`)
        if (recovered.length === 0)
          assert.ok(kind === '.log' && isBetween(content, size), `${where}: lost without a word`)
      }
    }
    console.log(`note: ${kind}: ${tally}`)
  })
}

/** Whether a log ends here between two frames, or has nothing at all. */
function isBetween(content: Buffer, size: number): boolean {
  if (size === 0) return true
  let at = 64
  while (at < size) at += content.readUInt32LE(at)
  return at === size
}

test('what was cut off is opened a second time to the same state', async () => {
  const { files, states } = made
  const log = [...files.keys()].filter((name) => name.endsWith('.log')).at(-1)!
  const content = files.get(log)!
  for (let size = 0; size < content.length; size += 5) {
    const first = await openFiles(new Map([...files, [log, content.subarray(0, size)]]), states)
    const left = new Map(
      first.fs.readdirSync('/data/g/t/0').map((name) => [name, first.fs.contentOf(`/data/g/t/0/${name}`)]),
    )
    const second = await openFiles(left, states)
    assert.is(second.state, first.state, `cut off at byte ${size}`)
    assert.equal(second.recovered, [])
  }
})

test.run()

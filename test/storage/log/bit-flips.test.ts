/** Every seventh bit of a small store flipped; bit-flips.long.test.ts flips all of them. */
import * as assert from 'uvu/assert'
import { ReadOnlyStore } from '../../../src/storage/index.ts'
import { suite } from '../../support/suite.ts'
import { flipBits, printTallies } from '../support/bit-flips.ts'
import { dir, diskWith, smallStore } from '../support/small-store.ts'

const test = suite('log engine: flipped bits', { deadlineMs: 120_000 })

test('every seventh bit of every file: the same, a prefix and an event, or an error', async () => {
  printTallies(await flipBits(await smallStore(), { every: 7, scrubEvery: 11 }))
})

test('a flipped bit in the slots of a table is found before they are used', async () => {
  const { files } = await smallStore()
  const name = [...files.keys()].find((one) => one.endsWith('.tbl'))!
  const content = Buffer.from(files.get(name)!)
  const footer = content.length - 64
  const [spansEnd, slotsEnd] = [content.readUInt32LE(footer + 4), content.readUInt32LE(footer + 8)]
  content[spansEnd + 1]! ^= 0x10
  const store = ReadOnlyStore.open(dir, { fs: diskWith(new Map([...files, [name, content]])) })
  try {
    // Opening reads no slots, and a scan needs none.
    assert.equal(store.info().faults, [])
    assert.is([...store.entries()].length, 6)
    let report: ReturnType<ReturnType<ReadOnlyStore['verify']>['next']>
    const steps = store.verify()
    do report = steps.next()
    while (report.done !== true)
    const [{ file, offset } = { file: '', offset: 0 }] = report.value.faults
    assert.is(file, name)
    assert.ok(offset >= spansEnd && offset < slotsEnd)
  } finally {
    store.close()
  }
})

test.run()

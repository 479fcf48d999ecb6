/**
 * The gates that need a table of many files: a million keys on the real disk, overwritten five times in random order.
 * Counts, not times. `KEYS` for another number.
 */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { LogEngine, nodeFs, Span } from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { checkpointAt } from '../contract.ts'
import { FaultFs } from '../support/fault-fs.ts'

const test = suite('log engine: gates, long', { deadlineMs: 900_000 })

test('space and bytes written of five random overwrites, reads per lookup', async () => {
  const keys = Number(process.env['KEYS'] ?? 1_000_000)
  const logical = keys * 116
  const root = mkdtempSync(join(tmpdir(), 'millrace-gates-'))
  try {
    const random = new SeededRandom(4)
    const fs = new FaultFs(nodeFs())
    const engine = new LogEngine({ dir: root, fs, random, sync: 'never', cacheBytes: 0 })
    const store = await engine.open({ group: 'g', table: 't', partition: 0 })
    const dir = join(root, 'g/t/0')
    const key = Buffer.alloc(16)
    const value = Buffer.alloc(100)
    const put = async (numbers: Iterable<number>): Promise<void> => {
      for (const i of numbers) {
        key.write(String(2 * i).padStart(16, '0'), 'latin1')
        value.writeUInt32LE(random.uint32(), 0)
        store.writer().put(0, key, 0, 16, value, 0, 100)
        if (store.writer().count < 500) continue
        store.writer().commit(checkpointAt(i))
        await (store.ready() ?? new Promise<void>((resolve) => setImmediate(resolve)))
      }
      store.writer().commit()
    }
    const size = (): number => {
      let bytes = 0
      for (const name of readdirSync(dir)) bytes += statSync(join(dir, name), { throwIfNoEntry: false })?.size ?? 0
      return bytes
    }
    await put(Array.from({ length: keys }, (_, i) => i))
    await store.flush()
    const loaded = fs.bytesWritten / logical
    fs.resetCounts()
    let peak = 0
    let runs = 0
    let mostRuns = 0
    const rounds = 500
    for (let round = 0; round < rounds; round++) {
      await put(Array.from({ length: (5 * keys) / rounds }, () => random.int(keys)))
      peak = Math.max(peak, size() / logical)
      runs += store.logStats().runs / rounds
      mostRuns = Math.max(mostRuns, store.logStats().runs)
    }
    await store.flush()
    while (engine.jobStats.jobs > 0) await new Promise((resolve) => setImmediate(resolve))
    const end = size() / logical
    const written = fs.bytesWritten / (5 * logical)
    const figures = { loaded, written, end, peak, runs, mostRuns, longestSliceMs: engine.jobStats.longestSliceMs }
    const out = new Span()
    const before = store.logStats().preads
    for (let i = 0; i < 100_000; i++) {
      key.write(String(2 * random.int(keys)).padStart(16, '0'), 'latin1')
      assert.ok(store.getSync(0, key, 0, 16, out))
    }
    const reads = (store.logStats().preads - before) / 100_000
    const index = (store.logStats().slotBytes + store.logStats().indexBytes) / store.logStats().tableEntries
    for (const [name, figure] of Object.entries({ ...figures, reads, index })) console.log(`  ${name}: ${figure}`)
    assert.ok(end <= 1.6, `${end} times the space at the end`)
    // Decision 0006: inputs of a merge go when all of it is done, and writers go on meanwhile.
    assert.ok(peak <= 2.5, `${peak} times the space at the peak`)
    assert.ok(written <= 5, `${written} bytes written per byte`)
    assert.ok(reads <= 1.05, `${reads} reads per lookup`)
    assert.ok(index <= 6.5, `${index} bytes of index per key`)
    await engine.close()
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
})

test.run()

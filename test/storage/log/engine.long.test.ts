/** Far more of the model of engine.test.ts and memory.test.ts: `MODEL_STEPS` for each seed and style (default 4000), `MODEL_SEEDS` (default 6). */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { LogEngine, type LogEngineOptions, MemoryEngine } from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { storeModel } from '../model.ts'
import { turn } from '../support/driver.ts'
import { SimFs } from '../support/sim-fs.ts'

const steps = Number(process.env['MODEL_STEPS'] ?? 4000)
const seeds = Number(process.env['MODEL_SEEDS'] ?? 6)

async function open(options: Partial<LogEngineOptions>): Promise<LogEngine> {
  return new LogEngine({ dir: '/data', fs: new SimFs(), random: new SeededRandom(7), sync: 'never', ...options })
}

const common = { exactCounts: false, steps, seeds, deadlineMs: 900_000 }
storeModel('memory, long', async () => new MemoryEngine({ random: new SeededRandom(5) }), {
  ...common,
  exactCounts: true,
})
storeModel('log, long', () => open({}), common)
storeModel('log, 4 KiB of memory, long', () => open({ writeBufferBytes: 4096 }), {
  ...common,
  pause: (_, random) => (random.chance(0.2) ? turn() : undefined),
})

const test = suite('log engine: large values', { deadlineMs: 120_000 })

test('values of 64 MiB, in logs and in tables', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'millrace-large-'))
  const at = { group: 'g', table: 't', partition: 0 }
  const values = [1, 2, 3].map((i) => Buffer.alloc(64 * 2 ** 20 - i, `value ${i} `))
  try {
    for (const worker of [false, true]) {
      const engine = new LogEngine({ dir: join(dir, String(worker)), worker, sync: 'never' })
      const store = await engine.open(at)
      for (const [i, value] of values.entries()) {
        store.writer().put(0, Buffer.from([i]), 0, 1, value, 0, value.length)
        store.writer().commit()
        if (i === 0) await store.flush()
      }
      await engine.close()
      const again = await engine.open(at)
      for (const settle of [() => again.flush(), () => again.compact(), () => Promise.resolve()]) {
        for (const [i, value] of values.entries()) assert.ok(again.get(Buffer.from([i]))?.equals(value), `value ${i}`)
        assert.is([...again.entries()].length, 3)
        await settle()
      }
      assert.equal((await again.verify()).faults, [])
      await engine.close()
    }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})

test.run()

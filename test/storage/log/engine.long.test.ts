/** Far more of the model of engine.test.ts and memory.test.ts: `MODEL_STEPS` for each seed and style (default 4000), `MODEL_SEEDS` (default 6). */
import { LogEngine, type LogEngineOptions, MemoryEngine } from '../../../src/storage/index.ts'
import { SeededRandom } from '../../sim/random.ts'
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

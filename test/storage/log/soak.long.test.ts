/**
 * Four stores of one process that is killed every few seconds, for `SOAK_MINUTES` (default 2): after each kill every store is
 * one that existed, with everything that was kept; and memory, descriptors, files and space stay within bounds. `SEED=n`.
 */
import { spawn } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { LogEngine } from '../../../src/storage/index.ts'
import { nodeFs } from '../../../src/storage/node-fs.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { checkNoOrphans, contentOf } from '../support/inspect.ts'
import { Oracle, unitsPerMove } from '../support/oracle.ts'
import { type Sample, soakDirectory, soakHistory, type SoakOrder } from './soak-worker.ts'

const minutes = Number(process.env['SOAK_MINUTES'] ?? 2)
const seed = Number(process.env['SEED'] ?? 1 + Math.floor(Math.random() * 1e6))
const storeCount = 4
const worker = join(import.meta.dirname, 'soak-worker.js')
/** Two of the write buffers, the cache and Node itself need about 100 MiB; the history that is followed, the rest. */
const maxRssBytes = 320 * 2 ** 20
const maxFilesPerStore = 40

const test = suite('log engine: soak', { deadlineMs: minutes * 60_000 + 240_000 })

/** What a process told before it was killed. */
interface Life {
  readonly kept: number[]
  readonly lastMove: number[]
  readonly samples: Sample[]
  readonly errors: string[]
}

/** One process, killed `ms` after it has opened everything. */
function live(order: SoakOrder, ms: number): Promise<Life> {
  const flags = ['--enable-source-maps', '--max-old-space-size=96']
  const child = spawn(process.execPath, [...flags, worker, JSON.stringify(order)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const life: Life = { kept: [], lastMove: [], samples: [], errors: [] }
  let timer: NodeJS.Timeout | undefined
  let rest = ''
  child.stdout.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString('latin1')).split('\n')
    // The last one may be cut.
    rest = lines.pop() ?? ''
    for (const line of lines) {
      const [kind, text = ''] = [line[0], line.slice(2)]
      if (kind === 'o') timer ??= setTimeout(() => child.kill('SIGKILL'), ms)
      else if (kind === 'e') life.errors.push(text)
      else if (kind === 'r') life.samples.push(JSON.parse(text) as Sample)
      else {
        const [store = 0, number = 0] = text.split(' ').map(Number)
        if (kind === 'k') life.kept[store] = number
        else life.lastMove[store] = number
      }
    }
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => {
      clearTimeout(timer)
      if (code !== null) life.errors.push(`it ended by itself, with code ${code}`)
      resolve(life)
    })
  })
}

/** Opens a copy of what was left: every store is one that existed, and not older than what was kept. */
async function check(root: string, oracles: readonly Oracle[], { kept, lastMove }: Life): Promise<void> {
  const copy = join(root, 'copy')
  cpSync(join(root, 'live'), copy, { recursive: true })
  const engine = new LogEngine({ dir: copy, sync: 'never', worker: false })
  for (const [i, oracle] of oracles.entries()) {
    const store = await engine.open(soakDirectory(i))
    checkNoOrphans(nodeFs(), join(copy, 'g/t', String(i)))
    const high = Math.max(oracle.unit, ((lastMove[i] ?? -1) + 1) * unitsPerMove - 1)
    oracle.locate(contentOf(store), Math.max(oracle.unit, kept[i] ?? -1), high)
  }
  await engine.close()
  rmSync(copy, { recursive: true })
}

test(`${minutes} minutes`, async () => {
  const root = mkdtempSync(join(tmpdir(), 'millrace-soak-'))
  const random = new SeededRandom(seed)
  const oracles = Array.from({ length: storeCount }, (_, i) => new Oracle(seed + i, soakHistory))
  const end = performance.now() + minutes * 60_000
  const most = { rssMiB: 0, descriptors: 0, filesOfAStore: 0, diskMiB: 0, space: 0 }
  let kills = 0
  let samples = 0
  try {
    for (; performance.now() < end; kills++) {
      const order = { dir: join(root, 'live'), seed, units: oracles.map(({ unit }) => unit) }
      // Some live long enough that a leak would show.
      const ms = kills % 6 === 5 ? 20_000 : random.between(500, 5000)
      const life = await live(order, Math.min(ms, Math.max(500, end - performance.now())))
      const where = `SEED=${seed}, life ${kills}`
      assert.equal(life.errors, [], where)
      for (const one of life.samples) {
        assert.ok(one.rssBytes <= maxRssBytes, `${where}: ${one.rssBytes} bytes of memory`)
        assert.ok(one.mostFiles <= maxFilesPerStore, `${where}: ${one.mostFiles} files in a store`)
        // Every file once, and the worker thread's.
        assert.ok(one.descriptors <= one.files + 40, `${where}: ${one.descriptors} descriptors, ${one.files} files`)
        // Superseded versions, a merge that is under way, and logs of a few write buffers for each store.
        const bound = 2.5 * one.liveBytes + storeCount * 2.5 * 2 ** 20
        assert.ok(one.diskBytes <= bound, `${where}: ${one.diskBytes} bytes on disk for ${one.liveBytes}`)
        most.rssMiB = Math.max(most.rssMiB, Math.round(one.rssBytes / 2 ** 20))
        most.descriptors = Math.max(most.descriptors, one.descriptors)
        most.filesOfAStore = Math.max(most.filesOfAStore, one.mostFiles)
        most.diskMiB = Math.max(most.diskMiB, Math.round(one.diskBytes / 2 ** 20))
        if (one.liveBytes > 2 ** 22) most.space = Math.max(most.space, one.diskBytes / one.liveBytes)
      }
      samples += life.samples.length
      if (!existsSync(order.dir)) continue
      try {
        await check(root, oracles, life)
      } catch (cause) {
        throw new Error(`${where}: ${(cause as Error).message}`, { cause })
      }
    }
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
  const moves = oracles.reduce((sum, { unit }) => sum + Math.floor(unit / unitsPerMove), 0)
  const figures = JSON.stringify({ ...most, space: Number(most.space.toFixed(2)) })
  console.log(`note: SEED=${seed}: ${kills} kills, ${moves} moves, ${samples} samples, at most ${figures}`)
})

test.run()

/** The manifest when writing fails, the process dies, or the power does: acknowledged states stay, others are whole or not there. */
import * as assert from 'uvu/assert'
import type { Fs } from '../../../src/base/fs.ts'
import { StoreError } from '../../../src/storage/errors.ts'
import { LogEngine, type LogStore } from '../../../src/storage/index.ts'
import { manifestName } from '../../../src/storage/log/format.ts'
import { Manifest } from '../../../src/storage/log/manifest.ts'
import { SeededRandom } from '../../sim/random.ts'
import { rejects, suite } from '../../support/suite.ts'
import { StillScheduler } from '../support/driver.ts'
import { changing, FaultFs, type Operation } from '../support/fault-fs.ts'
import { dir, emptySim, filesOf, open, path, stateOf, storeWith } from '../support/manifests.ts'
import { SimFs } from '../support/sim-fs.ts'

const test = suite('manifest: faults')

test('an append that fails leaves nothing, and the next one is fine', () => {
  for (const written of [0, 0.3, 0.99]) {
    for (const alsoCut of [false, true]) {
      const { fs: sim } = storeWith(1)
      const fs = new FaultFs(sim)
      const { manifest } = Manifest.open(filesOf(fs))!
      const before = manifest.byteLength
      fs.fail({ kinds: ['write'], code: 'ENOSPC', written, at: 1 })
      if (alsoCut) fs.fail({ kinds: ['truncate'] })
      assert.throws(
        () => manifest.append(stateOf(4)),
        (error: { code?: unknown }) => error.code === 'ENOSPC',
      )
      assert.is(manifest.byteLength, before)
      const dropped = alsoCut ? sim.contentOf(path(1)).length - before : 0
      assert.equal(open(sim.kill()), { state: 1, dropped })
      manifest.append(stateOf(2))
      manifest.close()
      assert.equal(open(sim), { state: 2, dropped: 0 })
    }
  }
})

test('a state that was written although the system says no: the tables that it names are there', async () => {
  for (const runs of [0, 4]) {
    const sim = new SimFs()
    const fs = new FaultFs(sim)
    const open = async (on: Fs): Promise<{ engine: LogEngine; store: LogStore }> => {
      const engine = new LogEngine({ dir: '/s', fs: on, scheduler: new StillScheduler(), sync: 'never' })
      return { engine, store: await engine.open({ group: 'g', table: 't', partition: 0 }) }
    }
    const { engine, store } = await open(fs)
    const key = Buffer.from('key')
    for (let run = 0; run <= runs; run++) {
      if (run === runs)
        fs.fail({ kinds: ['write', 'truncate'], path: /MANIFEST/, forever: true, code: 'EIO', written: 1 })
      store.writer().put(0, key, 0, key.length, Buffer.from(`${run}`), 0, 1)
      store.writer().commit()
      if (run < runs) await store.flush()
    }
    await rejects(store.flush(), 'ERR_STORE_POISONED')
    assert.is(`${store.get('key')}`, `${runs}`)
    for (const powerLoss of [false, true]) {
      const after = await open(powerLoss ? sim.crash(new SeededRandom(runs)) : sim.kill())
      if (!powerLoss) assert.is(`${after.store.get('key')}`, `${runs}`)
      assert.equal((await after.store.verify()).faults, [])
      await after.engine.close()
    }
    await engine.close()
  }
})

test('rewriting: the new manifest counts, the old one is gone', () => {
  const { fs } = storeWith(3)
  const { manifest } = Manifest.open(filesOf(fs))!
  const next = manifest.rewrite(stateOf(4), 12)
  assert.is(next.fileNumber, 12)
  assert.equal(fs.readdirSync(dir), ['CURRENT', manifestName(12)])
  assert.equal(open(fs.crash(new SeededRandom(1))), { state: 4, dropped: 0 })
  next.append(stateOf(5))
  assert.throws(() => next.rewrite(stateOf(6), 12), /millrace bug/)
  next.close()
  assert.equal(open(fs), { state: 5, dropped: 0 })
  assert.equal(fs.open, [])
})

/** A store's life: each step ends with a state that is durable. `reached` is told before and after. */
function live(fs: Fs, reached: (begun: number, done: number) => void): void {
  const opened = Manifest.open(filesOf(fs))
  let manifest = opened?.manifest
  try {
    reached(0, -1)
    manifest ??= Manifest.create(filesOf(fs), 1, stateOf(0))
    reached(1, 0)
    manifest.append(stateOf(1))
    manifest.synced.block()
    reached(2, 1)
    manifest = manifest.rewrite(stateOf(2), 12)
    reached(3, 2)
    manifest.append(stateOf(3))
    manifest.synced.block()
    reached(3, 3)
  } finally {
    manifest?.close()
  }
}

/** The state is one from `done` to `begun`, where −1 stands for no store. */
function isBetween(fs: Fs, begun: number, done: number, what: string): void {
  const found = open(fs)
  const state = found === 'new' ? -1 : found instanceof StoreError ? Number.NaN : found.state
  const text = found instanceof StoreError ? found.message : String(state)
  assert.ok(state >= done && state <= begun, `${what}: ${done}–${begun} expected, found ${text}`)
}

test('a kill or a power loss before any operation leaves the last acknowledged state or the one begun', () => {
  const first = 5
  let [begun, done, ends] = [-1, -1, 0]
  const sim = emptySim()
  const fs = new FaultFs(sim)
  const random = new SeededRandom(first)
  fs.before = ({ kind, path: at, count }) => {
    if (!changing.includes(kind)) return
    const what = `seed ${first}, before operation ${count}: ${kind} ${at}`
    const killed = sim.kill()
    isBetween(killed, begun, done, what)
    const seen = open(killed)
    // Somebody who opens it makes it durable before anything depends on it.
    const after = killed.kill()
    const opened = Manifest.open(filesOf(after))
    opened?.manifest.synced.block()
    opened?.manifest.close()
    if (seen !== 'new') for (let i = 0; i < 5; i++) assert.equal(open(after.crash(random)), seen, `${what}: is durable`)
    for (let i = 0; i < 40; i++) {
      const crashed = sim.crash(random)
      isBetween(crashed, begun, done, `${what}, end ${i}`)
      // Opening again gives the same, also when power is lost at once.
      const found = open(crashed)
      assert.equal(
        open(crashed.crash(random)),
        typeof found === 'object' && 'dropped' in found ? { ...found, dropped: 0 } : found,
      )
      ends += 1
    }
  }
  live(fs, (nextBegun, nextDone) => {
    begun = nextBegun
    done = nextDone
  })
  assert.ok(ends > 500, `${ends} ends`)
})

test('after a kill in the middle everything can go on', () => {
  for (let at = 1; ; at++) {
    const sim = emptySim()
    const fs = new FaultFs(sim)
    let left: SimFs | undefined
    fs.before = ({ count }) => {
      if (count !== at) return
      left = sim.kill()
      throw new Error('killed')
    }
    try {
      live(fs, () => {})
    } catch {
      // Killed.
    }
    if (left === undefined) break
    const opened = Manifest.open(filesOf(left))
    const manifest = opened?.manifest ?? Manifest.create(filesOf(left), 1, stateOf(0))
    manifest.append(stateOf(5))
    manifest.rewrite(stateOf(6), 20).close()
    assert.equal(open(left), { state: 6, dropped: 0 }, `killed at ${at}`)
    assert.equal(left.open, [])
  }
})

test('each operation fails once, or for ever: states stay legal, no file stays open, and it goes on afterwards', () => {
  const kinds: Operation[] = [
    'open',
    'readdir',
    'rename',
    'remove',
    'syncDir',
    'read',
    'write',
    'sync',
    'truncate',
    'size',
  ]
  let poisoned = 0
  for (const forever of [false, true]) {
    for (let at = 1; ; at++) {
      const what = `operation ${at}${forever ? ' and all later ones' : ''}`
      const sim = emptySim()
      const fs = new FaultFs(sim)
      let [begun, done] = [-1, -1]
      const fault = fs.fail({ kinds, at, forever, written: 0.5 })
      let failed = false
      try {
        live(fs, (nextBegun, nextDone) => {
          begun = nextBegun
          done = nextDone
        })
      } catch (error) {
        failed = true
        if (!(error instanceof StoreError)) assert.is((error as { code?: unknown }).code, 'EIO', what)
        else if (error.code === 'ERR_STORE_POISONED') poisoned += 1
      }
      assert.equal(fs.open, [], what)
      assert.equal(sim.open, [], what)
      fs.heal()
      isBetween(sim, begun, done, what)
      if (fault.failures === 0) {
        assert.not.ok(failed)
        break
      }
      const opened = Manifest.open(filesOf(fs))
      const manifest = opened?.manifest ?? Manifest.create(filesOf(fs), 1, stateOf(0))
      manifest.rewrite(stateOf(6), 20).close()
      assert.equal(open(sim.crash(new SeededRandom(at))), { state: 6, dropped: 0 }, what)
    }
  }
  assert.is(poisoned, 0, 'a failed rewrite itself throws the error of the system')
})

test('after a rewrite that failed half-way, this manifest goes on only if it surely counts', () => {
  const outcomes = new Set<string>()
  for (let at = 1; ; at++) {
    const { fs: sim } = storeWith(1)
    const fs = new FaultFs(sim)
    const { manifest } = Manifest.open(filesOf(fs))!
    const fault = fs.fail({ at })
    let rewritten = false
    try {
      manifest.rewrite(stateOf(2), 12).close()
      rewritten = true
    } catch {
      try {
        manifest.append(stateOf(3))
        outcomes.add('went on')
        assert.equal(open(sim), { state: 3, dropped: 0 }, `operation ${at}`)
      } catch (error) {
        assert.is((error as StoreError).code, 'ERR_STORE_POISONED')
        outcomes.add('poisoned')
        assert.throws(
          () => manifest.rewrite(stateOf(3), 13),
          (again: StoreError) => again.code === 'ERR_STORE_POISONED',
        )
        const found = open(sim)
        assert.ok(typeof found === 'object' && 'state' in found && [1, 2].includes(found.state), `operation ${at}`)
      }
      manifest.close()
    }
    assert.equal(fs.open, [], `operation ${at}`)
    if (fault.failures === 0) break
    if (rewritten) assert.equal(open(sim), { state: 2, dropped: 0 })
  }
  assert.equal([...outcomes].sort(), ['poisoned', 'went on'])
})

test.run()

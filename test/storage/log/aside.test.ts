/** A store that is kept aside while a new one is built in its place, step by step. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { encodePart, type LogEngine, logEngine, nodeFs, type Store, storeNameOf } from '../../../src/storage/index.ts'
import type { Fs } from '../../../src/base/fs.ts'
import { rejects, suite } from '../../support/suite.ts'

const test = suite('log engine: aside')
const root = mkdtempSync(join(tmpdir(), 'millrace-aside-'))
test.after(() => rmSync(root, { recursive: true, force: true }))
const place = { group: 'G', table: 't', partition: 3 }
let dirs = 0
const newDir = (): string => join(root, String(++dirs))

function put(store: Store, key: string, position: number): void {
  const bytes = Buffer.from(key)
  const batch = store.writer()
  batch.put(0, bytes, 0, bytes.length, bytes, 0, bytes.length)
  batch.commit({ position, state: Buffer.alloc(0) })
}

/** An engine with a store that has one entry and is closed. */
async function withOld(dir = newDir(), fs?: Fs): Promise<LogEngine> {
  const engine = logEngine({ dir, ...(fs === undefined ? {} : { fs }) })
  const store = await engine.open(place)
  put(store, 'old', 7)
  await store.close()
  return engine
}

test('the old store is there until the new one is complete; another process finds both', async () => {
  const dir = newDir()
  const engine = await withOld(dir)
  const { aside } = engine
  assert.is(engine.pathOf(place), join(dir, '%47', 't', '3'))
  assert.is(aside.pathOf(place), `${engine.pathOf(place)}.old`)
  assert.is(aside.has(place), false)
  await aside.put(place)
  assert.is(aside.has(place), true)
  const fresh = await engine.open(place)
  assert.is(fresh.checkpoint, undefined)
  put(fresh, 'new', 2)
  await engine.close()

  const next = logEngine({ dir })
  assert.is(next.aside.has(place), true)
  const old = await next.aside.open(place)
  assert.is(old.name, 'G/t/3.old')
  assert.equal([old.get('old')?.toString(), old.checkpoint?.position], ['old', 7])
  await old.close()
  const store = await next.open(place)
  await next.aside.remove(place)
  assert.is(next.aside.has(place), false)
  assert.equal([store.get('new')?.toString(), store.get('old')], ['new', undefined])
  await next.close()
  assert.equal(nodeFs().readdirSync(join(dir, '%47', 't')), ['3'])
})

test('what is complete is durable before the old store goes, also what was loaded in bulk', async () => {
  const dir = newDir()
  const calls: string[] = []
  const real = nodeFs()
  const fs: Fs = Object.create(real, {
    renameSync: {
      value: (from: string, to: string) => {
        if (to.endsWith('.gone'))
          calls.push(
            `tables: ${real.readdirSync(join(dir, '%47', 't', '3')).filter((name) => name.endsWith('.tbl')).length}`,
          )
        real.renameSync(from, to)
      },
    },
  })
  const engine = await withOld(dir, fs)
  await engine.aside.put(place)
  const store = await engine.open(place)
  const load = store.bulkLoad()
  load.put(0, Buffer.from('a'), 0, 1, Buffer.from('b'), 0, 1)
  load.finish({ position: 1, state: Buffer.alloc(0) })
  await engine.aside.remove(place)
  assert.equal(calls, ['tables: 1'])
  await engine.close()
})

test('an open store is not moved, nor one over another', async () => {
  const engine = await withOld()
  const store = await engine.open(place)
  await rejects(engine.aside.put(place), 'ERR_STORE_LOCKED')
  await store.close()
  await engine.aside.put(place)
  await (await engine.open(place)).close()
  const error = await rejects(engine.aside.put(place), 'ERR_STORE_IO')
  assert.match(error.message, /3\.old/)
  await engine.close()
})

test('a removal that is broken off leaves nothing that looks like a store', async () => {
  const dir = newDir()
  const real = nodeFs()
  let broken = true
  const fs: Fs = Object.create(real, {
    removeSync: {
      value: (path: string) => {
        if (broken && path.endsWith('.gone')) throw Object.assign(new Error('no'), { code: 'EIO' })
        real.removeSync(path)
      },
    },
  })
  const engine = await withOld(dir, fs)
  await engine.aside.put(place)
  const store = await engine.open(place)
  const error = await rejects(engine.aside.remove(place), 'ERR_STORE_IO')
  assert.match(error.message, /EIO/)
  assert.is(engine.aside.has(place), false)
  assert.is(existsSync(`${engine.pathOf(place)}.gone`), true)
  await store.close()
  broken = false
  await engine.open(place)
  assert.is(existsSync(`${engine.pathOf(place)}.gone`), false, 'opening sweeps it away')
  await engine.close()
})

test('a store that another process has open is not moved', async () => {
  const engine = await withOld()
  const path = engine.pathOf(place)
  mkdirSync(path, { recursive: true })
  const { ppid } = process
  const lock = { pid: ppid, host: 'elsewhere', bootId: '', startTime: '', nonce: 'x' }
  writeFileSync(join(path, 'LOCK'), `${JSON.stringify(lock)}\n`)
  await rejects(engine.aside.put(place), 'ERR_STORE_LOCKED')
  assert.is(existsSync(path), true)
  await engine.close()
})

test('a path says which store it is', () => {
  assert.is(storeNameOf('/x/%47roup/t%2e1/12'), 'Group/t.1/12')
  assert.is(storeNameOf('g/t/0/'), 'g/t/0')
  const long = 'x'.repeat(300)
  assert.is(storeNameOf(`/x/g/${encodePart(long)}/0`), `g/${encodePart(long)}/0`, 'a name that was cut stays as it is')
  assert.is(storeNameOf('/x/a%zz/t/0.old'), 'a%zz/t/0.old')
})

test.run()

/** SimFs: it behaves as the real file system does, and a power loss leaves what one may leave. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import type { FileHandle, Fs } from '../../../src/base/fs.ts'
import { nodeFs } from '../../../src/storage/node-fs.ts'
import { SeededRandom } from '../../sim/random.ts'
import { rejects, suite } from '../../support/suite.ts'
import { SimFs } from './sim-fs.ts'

const test = suite('sim-fs')

function put(fs: Fs, path: string, text: string, sync = false): void {
  const file = fs.openSync(path, 'create')
  file.truncateSync(0)
  file.writeSync(Buffer.from(text), 0, text.length, 0)
  if (sync) file.syncSync()
  file.closeSync()
}

/** The outcome of a call as text: its result, or the code of its error. */
function outcome(call: () => unknown): string {
  try {
    return JSON.stringify(call()) ?? 'nothing'
  } catch (error) {
    return String((error as { code?: unknown }).code)
  }
}

/** All ends that `times` power losses give, as text. */
function ends(fs: SimFs, times: number, look: (after: SimFs) => string): Set<string> {
  const random = new SeededRandom(7)
  const seen = new Set<string>()
  for (let i = 0; i < times; i++) seen.add(look(fs.crash(random)))
  return seen
}

test('ten thousand operations end as on the real file system', () => {
  const root = mkdtempSync(join(tmpdir(), 'millrace-sim-'))
  const seed = 20_261_121
  const random = new SeededRandom(seed)
  try {
    const sides = [
      { fs: nodeFs(), root, handles: [] as FileHandle[] },
      { fs: new SimFs(), root: '/r', handles: [] as FileHandle[] },
    ]
    sides[1]!.fs.mkdirSync('/r')
    const names = ['a', 'b', 'd/a', 'd/b', 'd', 'e/f/a', 'e/f', 'a/x']
    for (let i = 0; i < 10_000; i++) {
      const kind = random.int(14)
      const [name, other] = [random.pick(names), random.pick(names)]
      const mode = random.pick(['read', 'create', 'createNew'] as const)
      const [at, length, pick] = [random.int(300), random.int(200), random.int(8)]
      const bytes = random.bytes(length)
      const results = sides.map(({ fs, root: at0, handles }) =>
        outcome(() => {
          const path = `${at0}/${name}`
          const handle = handles[pick % Math.max(1, handles.length)]
          if (kind === 0) return fs.mkdirSync(path)
          if (kind === 1) return fs.existsSync(path)
          if (kind === 2) return fs.readdirSync(path)
          // Errors of strange renames differ between systems.
          if (kind === 3) return name.includes('a') && other.includes('b') ? fs.renameSync(path, `${at0}/${other}`) : 0
          if (kind === 4) return pick < 3 ? fs.removeSync(path) : 0
          if (kind <= 6) {
            const opened = fs.openSync(path, mode)
            // What a handle of a directory can do differs between systems.
            if (outcome(() => fs.readdirSync(path)) !== 'ENOTDIR') opened.closeSync()
            else handles.push(opened)
            if (handles.length > 6) handles.shift()!.closeSync()
            return handles.length
          }
          if (handle === undefined) return 'no handle'
          if (kind === 7) return handle.truncateSync(at)
          if (kind === 8) return handle.sizeSync()
          if (kind === 9) return handle.syncSync()
          if (kind <= 11) return handle.writeSync(bytes, 0, length, at)
          const target = Buffer.alloc(length, 0x2e)
          return [handle.readSync(target, 0, length, at), target.toString('latin1')]
        }),
      )
      assert.is(results[1], results[0], `seed ${seed}, operation ${i}: kind ${kind} ${name} ${other} ${mode}`)
    }
    for (const { handles } of sides) for (const handle of handles) handle.closeSync()
    assert.equal((sides[1]!.fs as SimFs).open, [])
  } finally {
    rmSync(root, { recursive: true })
  }
})

test('what was synced, name and content, is there after every power loss', () => {
  const fs = new SimFs()
  fs.mkdirSync('/d')
  fs.syncDirSync('/')
  put(fs, '/d/a', 'hello', true)
  fs.syncDirSync('/d')
  assert.ok(fs.isDurable('/d/a') && fs.isDurable('/d'))
  assert.equal([...ends(fs, 100, (after) => `${after.readdirSync('/d')} ${after.contentOf('/d/a')}`)], ['a hello'])
})

test('content that was not synced is kept, lost, or torn; the synced part stays', () => {
  const fs = new SimFs()
  put(fs, '/a', 'synced', true)
  fs.syncDirSync('/')
  const file = fs.openSync('/a', 'create')
  file.writeSync(Buffer.from('+more'), 0, 5, 6)
  assert.not.ok(fs.isDurable('/a'))
  const seen = ends(fs, 500, (after) => after.contentOf('/a').toString('latin1'))
  for (const text of seen) assert.match(text, /^synced(\+|\0)?/)
  for (const text of ['synced', 'synced+more', 'synced+m', 'synced\0\0\0\0\0']) assert.ok(seen.has(text), text)
  assert.is(fs.contentOf('/a').toString(), 'synced+more', 'the machine that crashed is as it was')
  file.syncSync()
  assert.equal([...ends(fs, 50, (after) => after.contentOf('/a').toString())], ['synced+more'])
  file.truncateSync(2)
  assert.equal([...ends(fs, 100, (after) => after.contentOf('/a').toString())].sort(), ['sy', 'synced+more'])
  file.closeSync()
})

test('writes are lost each for itself, and large ones tear at sectors', () => {
  const fs = new SimFs()
  const file = fs.openSync('/a', 'create')
  fs.syncDirSync('/')
  for (let i = 0; i < 3; i++) file.writeSync(Buffer.from(`${i}`), 0, 1, i)
  const seen = ends(fs, 500, (after) => after.contentOf('/a').toString('latin1').replaceAll('\0', '.'))
  for (const text of ['', '0', '01', '012', '.1', '..2', '0.2']) assert.ok(seen.has(text), text)
  file.truncateSync(0)
  file.syncSync()
  file.writeSync(Buffer.alloc(2048, 'x'), 0, 2048, 0)
  const sectors = ends(fs, 2000, (after) => {
    const content = after.contentOf('/a').toString('latin1')
    return content.length === 2048 ? [0, 512, 1024, 1536].map((at) => content.charCodeAt(at) && 1).join('') : ''
  })
  for (const text of ['1111', '0000', '1000', '1100']) assert.ok(sectors.has(text), text)
  file.closeSync()
})

test('names: made, moved and removed ones come and go, a rename is whole', () => {
  const fs = new SimFs()
  put(fs, '/CURRENT', 'old', true)
  put(fs, '/gone', 'x', true)
  fs.syncDirSync('/')
  put(fs, '/tmp', 'new', true)
  fs.renameSync('/tmp', '/CURRENT')
  fs.removeSync('/gone')
  const seen = ends(fs, 500, (after) => `${after.readdirSync('/')}:${after.contentOf('/CURRENT')}`)
  const legal = ['CURRENT,gone:old', 'CURRENT:old', 'CURRENT,gone,tmp:old', 'CURRENT,tmp:old', 'CURRENT,gone:new']
  assert.equal([...seen].sort(), [...legal, 'CURRENT:new'].sort())
  fs.syncDirSync('/')
  assert.equal(
    [...ends(fs, 50, (after) => `${after.readdirSync('/')}:${after.contentOf('/CURRENT')}`)],
    ['CURRENT:new'],
  )
})

test('a directory that was not synced takes everything in it along', () => {
  const fs = new SimFs()
  fs.mkdirSync('/a/b')
  put(fs, '/a/b/file', 'x', true)
  fs.syncDirSync('/a/b')
  const seen = ends(fs, 200, (after) => String(after.existsSync('/a/b/file')))
  assert.equal([...seen].sort(), ['false', 'true'])
  fs.syncDirSync('/')
  fs.syncDirSync('/a')
  assert.equal([...ends(fs, 50, (after) => String(after.existsSync('/a/b/file')))], ['true'])
})

test('a kill keeps everything, and what was not synced may still be lost later', () => {
  const fs = new SimFs()
  put(fs, '/a', 'one', true)
  fs.syncDirSync('/')
  put(fs, '/a', 'three')
  put(fs, '/b', 'x')
  const after = fs.kill()
  put(fs, '/a', 'written by the dead')
  assert.equal(after.readdirSync('/'), ['a', 'b'])
  assert.is(after.contentOf('/a').toString(), 'three')
  const seen = ends(after, 500, (end) => `${end.readdirSync('/')} ${end.contentOf('/a').toString('latin1')}`)
  for (const text of ['a one', 'a,b one', 'a three', 'a,b three', 'a ']) assert.ok(seen.has(text), text)
})

test('a sync covers what was written before it began; it ends when it is told to', async () => {
  const ended: (() => void)[] = []
  const fs = new SimFs({ defer: (run) => void ended.push(run) })
  const file = fs.openSync('/a', 'create')
  fs.syncDirSync('/')
  file.writeSync(Buffer.from('1'), 0, 1, 0)
  const synced = file.sync()
  file.writeSync(Buffer.from('2'), 0, 1, 1)
  assert.ok(ends(fs, 100, (after) => after.contentOf('/a').toString('latin1')).has(''), 'not durable while it runs')
  ended[0]!()
  await synced
  const seen = ends(fs, 200, (after) => after.contentOf('/a').toString('latin1').replaceAll('\0', '.'))
  assert.equal([...seen].sort(), ['1', '1.', '12'])
  file.closeSync()
  await rejects(file.sync(), 'EBADF')
})

test('after a failed sync no later one makes durable what was written before', () => {
  const fs = new SimFs()
  const file = fs.openSync('/a', 'create')
  fs.syncDirSync('/')
  file.writeSync(Buffer.from('ab'), 0, 2, 0)
  fs.loseUnsynced('/a')
  file.writeSync(Buffer.from('c'), 0, 1, 2)
  file.syncSync()
  assert.is(fs.contentOf('/a').toString(), 'abc')
  assert.equal([...ends(fs, 100, (after) => after.contentOf('/a').toString())], ['\0\0c'])
  file.closeSync()
})

test('a full disk writes what fits and throws ENOSPC; removing files makes room', async () => {
  const fs = new SimFs()
  put(fs, '/big', 'x'.repeat(90))
  fs.capacity = 100
  const file = fs.openSync('/a', 'create')
  const bytes = Buffer.from('0123456789abcdef')
  assert.is(
    outcome(() => file.writeSync(bytes, 0, 16, 0)),
    'ENOSPC',
  )
  assert.is(fs.contentOf('/a').toString(), '0123456789')
  await rejects(file.write(bytes, 0, 12, 0), 'ENOSPC')
  file.writeSync(bytes, 0, 10, 0)
  fs.removeSync('/big')
  file.writeSync(bytes, 0, 16, 0)
  file.closeSync()
})

test('a removed file lives on in its handles; damage is seen through them', () => {
  const fs = new SimFs()
  put(fs, '/a', 'one')
  fs.syncDirSync('/')
  const file = fs.openSync('/a', 'read')
  const target = Buffer.alloc(3)
  fs.tamper('/a', Buffer.from('two'))
  assert.is(fs.crash(new SeededRandom(1)).contentOf('/a').toString(), 'two')
  fs.removeSync('/a')
  file.readSync(target, 0, 3, 0)
  assert.is(target.toString(), 'two')
  assert.equal(fs.open, ['/a'])
  file.closeSync()
  assert.equal(fs.open, [])
  assert.is(
    outcome(() => file.readSync(target, 0, 3, 0)),
    'EBADF',
  )
  fs.tamper('/b', Buffer.from('from nowhere'))
  assert.is(fs.crash(new SeededRandom(1)).contentOf('/b').toString(), 'from nowhere')
})

test.run()

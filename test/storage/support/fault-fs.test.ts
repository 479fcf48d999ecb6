/** FaultFs: it counts, fails what it is told to, and leaves everything else alone. */
import * as assert from 'uvu/assert'
import { rejects, suite } from '../../support/suite.ts'
import { FaultFs, type FsCall } from './fault-fs.ts'
import { SimFs } from './sim-fs.ts'

const test = suite('fault-fs')
const bytes = Buffer.from('0123456789')

function codeOf(call: () => unknown): unknown {
  try {
    call()
  } catch (error) {
    return (error as { code?: unknown }).code
  }
  return undefined
}

test('without a fault everything goes through, and is counted by kind', async () => {
  const fs = new FaultFs(new SimFs())
  fs.mkdirSync('/d')
  const file = fs.openSync('/d/a', 'createNew')
  assert.equal(fs.open, ['/d/a'])
  file.writeSync(bytes, 0, 4, 0)
  await file.write(bytes, 4, 10, 4)
  file.syncSync()
  await file.sync()
  const target = Buffer.alloc(10)
  assert.is(file.readSync(target, 0, 5, 0), 5)
  assert.is(await file.read(target, 5, 5, 5), 5)
  assert.ok(target.equals(bytes))
  file.truncateSync(3)
  assert.is(file.sizeSync(), 3)
  file.closeSync()
  fs.renameSync('/d/a', '/d/b')
  assert.equal(fs.readdirSync('/d'), ['b'])
  assert.ok(fs.existsSync('/d/b'))
  fs.syncDirSync('/d')
  fs.removeSync('/d/b')
  const one = {
    open: 1,
    exists: 1,
    mkdir: 1,
    readdir: 1,
    rename: 1,
    remove: 1,
    syncDir: 1,
    truncate: 1,
    size: 1,
    close: 1,
  }
  assert.equal(fs.counts, { ...one, read: 2, write: 2, sync: 2 })
  assert.is(fs.total, 16)
  assert.is(fs.bytesWritten, 10)
  assert.equal(fs.open, [])
  fs.resetCounts()
  assert.is(fs.total + fs.counts.write + fs.bytesWritten, 0)
})

test('the Nth matching call fails, once or for ever, until healed', async () => {
  const fs = new FaultFs(new SimFs())
  const a = fs.openSync('/a', 'create')
  const b = fs.openSync('/b', 'create')
  const write = (file: typeof a): unknown => codeOf(() => file.writeSync(bytes, 0, 1, 0))
  const once = fs.fail({ kinds: ['write'], path: /a$/, at: 2, code: 'ENOSPC' })
  assert.equal([write(a), write(b), write(a), write(a)], [undefined, undefined, 'ENOSPC', undefined])
  assert.is(once.failures, 1)
  assert.is(once.matches, 3)
  fs.fail({ kinds: ['sync', 'syncDir'], at: 2, forever: true })
  a.syncSync()
  await rejects(a.sync(), 'EIO')
  assert.is(
    codeOf(() => fs.syncDirSync('/')),
    'EIO',
  )
  fs.heal()
  await b.sync()
  fs.syncDirSync('/')
  fs.fail({ forever: true })
  assert.is(
    codeOf(() => fs.readdirSync('/')),
    'EIO',
  )
  assert.ok(fs.existsSync('/a'), 'looking whether a file exists cannot fail')
  a.closeSync()
  fs.fail({ kinds: ['close'] })
  assert.is(
    codeOf(() => b.closeSync()),
    'EIO',
  )
  assert.equal(fs.open, [], 'and a handle is given back even if closing it fails')
  assert.equal((fs.inner as SimFs).open, [])
})

test('a write can be cut short, a failed sync can lose what it should have saved', async () => {
  const sim = new SimFs()
  const fs = new FaultFs(sim)
  const file = fs.openSync('/a', 'create')
  fs.fail({ kinds: ['write'], written: 0.5, code: 'ENOSPC' })
  assert.is(
    codeOf(() => file.writeSync(bytes, 0, 10, 0)),
    'ENOSPC',
  )
  assert.is(sim.contentOf('/a').toString(), '01234')
  fs.fail({ kinds: ['write'], written: 0.3 })
  await rejects(file.write(bytes, 0, 10, 5), 'EIO')
  assert.is(sim.contentOf('/a').toString(), '01234012')
  fs.fail({ kinds: ['sync'], onFail: ({ path }) => sim.loseUnsynced(path) })
  await rejects(file.sync(), 'EIO')
  await file.sync()
  assert.not.ok(sim.isDurable('/a'))
  file.closeSync()
})

test('hooks see each call before and after, and may end the caller', () => {
  const sim = new SimFs()
  const fs = new FaultFs(sim)
  const seen: string[] = []
  fs.before = ({ kind, path, count }: FsCall) => void seen.push(`${count} ${kind} ${path}`)
  fs.after = ({ kind }) => void seen.push(`did ${kind}`)
  const file = fs.openSync('/a', 'create')
  fs.fail({ kinds: ['size'] })
  assert.is(
    codeOf(() => file.sizeSync()),
    'EIO',
  )
  assert.equal(seen, ['1 open /a', 'did open', '2 size /a'])
  let dead: SimFs | undefined
  fs.before = ({ kind }) => {
    if (kind !== 'rename') return
    dead = sim.kill()
    throw new Error('killed')
  }
  assert.throws(() => fs.renameSync('/a', '/b'), /killed/)
  fs.before = undefined
  fs.renameSync('/a', '/b')
  assert.equal(dead!.readdirSync('/'), ['a'])
  assert.equal(sim.readdirSync('/'), ['b'])
  file.closeSync()
})

test.run()

/** The real file system, and the names of stores as paths. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { encodePart, nodeFs, storePath } from '../../src/storage/index.ts'
import { suite } from '../support/suite.ts'

const test = suite('node-fs and directories')
let root = ''
test.before.each(() => {
  root = mkdtempSync(join(tmpdir(), 'millrace-fs-'))
})
test.after.each(() => rmSync(root, { recursive: true }))

/** The `code` of what `action` throws. */
function codeOf(action: () => void): unknown {
  try {
    action()
  } catch (error) {
    return (error as { code?: unknown }).code
  }
  return undefined
}

test('files are written and read at positions, both ways', async () => {
  const fs = nodeFs()
  const path = join(root, 'file')
  const file = fs.openSync(path, 'createNew')
  file.writeSync(Buffer.from('--hello--'), 2, 7, 0)
  await file.write(Buffer.from('world'), 0, 5, 5)
  file.syncSync()
  await file.sync()
  assert.is(file.sizeSync(), 10)
  const target = Buffer.alloc(12, 0x2e)
  assert.is(file.readSync(target, 1, 5, 0), 5)
  assert.is(target.toString(), '.hello......')
  assert.is(await file.read(target, 0, 12, 3), 7, 'a short read at the end')
  assert.is(target.toString('latin1', 0, 7), 'loworld')
  assert.is(file.readSync(target, 0, 1, 10), 0)
  assert.is(await file.read(target, 0, 1, 10), 0)
  file.truncateSync(5)
  assert.is(file.sizeSync(), 5)
  file.closeSync()
  const again = fs.openSync(path, 'create')
  assert.is(again.sizeSync(), 5, 'create opens what is there')
  again.closeSync()
  const readOnly = fs.openSync(path, 'read')
  assert.is(
    codeOf(() => readOnly.writeSync(Buffer.from('x'), 0, 1, 0)),
    'EBADF',
  )
  readOnly.closeSync()
})

test('directories: made deep, listed in order, renamed, removed; errors carry the code of the system', () => {
  const fs = nodeFs()
  const deep = join(root, 'a', 'b', 'c')
  fs.mkdirSync(deep)
  fs.mkdirSync(deep)
  for (const name of ['z', 'y', 'x']) fs.openSync(join(deep, name), 'create').closeSync()
  fs.syncDirSync(deep)
  assert.equal(fs.readdirSync(deep), ['x', 'y', 'z'])
  fs.renameSync(join(deep, 'x'), join(deep, 'w'))
  assert.is(fs.existsSync(join(deep, 'x')), false)
  assert.is(fs.existsSync(join(deep, 'w')), true)
  assert.is(
    codeOf(() => fs.openSync(join(deep, 'w'), 'createNew')),
    'EEXIST',
  )
  assert.is(
    codeOf(() => fs.openSync(join(deep, 'missing'), 'read')),
    'ENOENT',
  )
  assert.is(
    codeOf(() => fs.removeSync(join(deep, 'missing'))),
    'ENOENT',
  )
  fs.removeSync(join(root, 'a'))
  assert.equal(fs.readdirSync(root), [])
})

test('names become parts of paths that are safe everywhere, and different names stay different', () => {
  const table: [string, string][] = [
    ['user-clicks', 'user-clicks'],
    ['a_b-9', 'a_b-9'],
    ['', '%'],
    ['.', '%2e'],
    ['..', '%2e%2e'],
    ['a/b', 'a%2fb'],
    ['a\\b', 'a%5cb'],
    ['A', '%41'],
    ['%41', '%2541'],
    ['é', '%c3%a9'],
    ['\0', '%00'],
    ['__proto__', '__proto__'],
    ['con', '%63on'],
    ['lpt1', '%6cpt1'],
    ['CON', '%43%4f%4e'],
    ['console', 'console'],
    ['orders.v1', 'orders%2ev1'],
  ]
  for (const [name, part] of table) assert.is(encodePart(name), part)
  const names = [
    'x'.repeat(249),
    'X'.repeat(249),
    `${'X'.repeat(248)}Y`,
    'X'.repeat(248),
    '.'.repeat(249),
    ...table.map(([name]) => name),
  ]
  const parts = new Set(names.map((name) => encodePart(name).toLowerCase()))
  assert.is(parts.size, names.length)
  for (const name of names) assert.ok(encodePart(name).length <= 249, `${name}: ${encodePart(name).length} characters`)
  const path = storePath({ group: 'G/', table: '..', partition: 7 }, '/data')
  assert.is(path, '/data/%47%2f/%2e%2e/7')
})

test.run()

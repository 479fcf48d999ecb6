/** Stores that earlier releases wrote open for ever, what the writers write has not changed, and later versions are refused. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import * as assert from 'uvu/assert'
import { type LogStore, Span } from '../../../src/storage/index.ts'
import { everything } from '../../../src/storage/log/cursor.ts'
import { parseFileName, type StoreFiles } from '../../../src/storage/log/format.ts'
import { Table } from '../../../src/storage/log/table.ts'
import { TableWriter } from '../../../src/storage/log/table-writer.ts'
import { rejects, suite } from '../../support/suite.ts'
import { finish } from '../support/one-table.ts'
import { dir, directory, diskWith, engineOn, scrub } from '../support/small-store.ts'
import { goldenEntries, goldenId } from './golden/contents.ts'

const test = suite('log engine: golden files')
// Tests run from the build directory, which does not hold them.
const golden = join(import.meta.dirname, '../../../../test/storage/log/golden/v1')
const files = new Map(readdirSync(golden).map((name) => [name, readFileSync(join(golden, name))]))

function checkContent(store: LogStore): void {
  const expected = goldenEntries()
  const out = new Span()
  let count = 0
  for (let space = 0; space < 16; space++) {
    for (const [key, value] of store.entries({ space })) {
      count += 1
      const id = goldenId(space, key)
      assert.is(value.toString('hex'), expected.get(id)?.toString('hex'), id)
      assert.ok(store.getSync(space, key, 0, key.length, out), id)
      assert.ok(out.copy().equals(value), id)
    }
  }
  assert.is(count, expected.size)
  for (const deleted of ['user-00399', 'user-00008', 'never there']) assert.not.ok(store.has(deleted))
  assert.equal(store.checkpoint, { position: 500, state: Buffer.from('last') })
}

test('version 1: every entry and the checkpoint, before and after everything is written anew', async () => {
  const fs = diskWith(files)
  const { faults, notes, entries } = scrub(fs)
  assert.equal([faults, notes], [[], []])
  assert.is(entries, 10 + 400 + 4 + 2 + 4)
  const events: unknown[] = []
  const engine = engineOn(fs, (event) => void (event.kind === 'recovered' && events.push(event)))
  const store = await engine.open(directory)
  checkContent(store)
  await store.compact()
  checkContent(store)
  assert.equal((await store.verify()).faults, [])
  assert.equal(events, [])
  await engine.close()
})

test('version 1: tables are written byte by byte as they were', () => {
  const fs = diskWith(files)
  const manifest = files.get('MANIFEST-0000000001')!.toString('latin1')
  const hashSeed = Number(/"hashSeed":(-?\d+)/.exec(manifest)?.[1])
  for (const [name, content] of files) {
    const { kind, number } = parseFileName(name)
    if (kind !== 'table') continue
    const storeId = Buffer.from(content.subarray(16, 32))
    const createdMs = Number(content.readBigUInt64LE(40))
    const about: StoreFiles = { fs, dir, store: 'g/t/0', storeId, hashSeed, now: () => createdMs }
    const table = Table.open(about, number)
    fs.mkdirSync('/again')
    const writer = new TableWriter({ ...about, dir: '/again' }, number)
    const cursor = table.cursor(everything)
    while (cursor.next()) {
      const { space, keyBytes, keyFrom, keyTo, valueBytes, valueFrom, valueTo, deleted } = cursor
      writer.add(space, keyBytes, keyFrom, keyTo, valueBytes, valueFrom, valueTo, deleted)
    }
    finish(writer)
    table.close()
    assert.ok(fs.contentOf(`/again/${name}`).equals(content), name)
  }
})

/** A header with one field changed, and the checksum that belongs to it. */
function withHeader(content: Buffer, change: (header: Buffer) => void): Buffer {
  const changed = Buffer.from(content)
  change(changed)
  changed.writeUInt32LE(crc32(changed.subarray(0, 60)), 60)
  return changed
}

for (const [what, change] of [
  ['a reader of version 2', (header: Buffer) => void header.writeUInt16LE(2, header.writeUInt16LE(2, 8))],
  ['an unknown incompatible flag', (header: Buffer) => void header.writeUInt32LE(0x8000, 12)],
] as const) {
  test(`a file that needs ${what} is refused, and nothing is changed`, async () => {
    for (const [name, content] of files) {
      if (name === 'CURRENT') continue
      const changed = new Map([...files, [name, withHeader(content, change)]])
      const fs = diskWith(changed)
      const engine = engineOn(fs)
      const error = await rejects(engine.open(directory), 'ERR_STORE_VERSION')
      assert.match(error.message, name)
      assert.match(error.message, /Use the release that wrote it, or remove the directory of this store/)
      assert.is((error as { file?: string }).file, name)
      for (const [one, bytes] of changed) assert.ok(fs.contentOf(`${dir}/${one}`).equals(bytes), `${name}: ${one}`)
      const { faults } = scrub(fs)
      assert.ok(faults.some(({ file, what: text }) => file === name && text.includes('format version')))
      await engine.close()
    }
  })
}

test('files of a later version that this one can read, and flags that may be ignored, are no hindrance', async () => {
  const later = [...files].map(([name, content]) => {
    const change = (header: Buffer): void => void header.writeUInt32LE(0x80000000, header.writeUInt16LE(7, 8) + 2)
    return [name, name === 'CURRENT' ? content : withHeader(content, change)] as const
  })
  const engine = engineOn(diskWith(new Map(later)))
  checkContent(await engine.open(directory))
  await engine.close()
})

test.run()

/** Looks at an open store from all sides, and at the files of a closed one. Stateless. */
import * as assert from 'uvu/assert'
import type { Fs } from '../../../src/base/fs.ts'
import { Span, type StoreReader } from '../../../src/storage/index.ts'
import { Model } from './oracle.ts'

const spaces = [0, 1, 15]

/** What a store holds: scanned forwards, backwards and key by key, which must agree. */
export function contentOf(store: StoreReader): Model {
  const found = new Model()
  const out = new Span()
  for (const space of spaces) {
    let before: Buffer | undefined
    const forward: Buffer[] = []
    for (const [key, value] of store.entries({ space })) {
      if (before !== undefined) assert.ok(Buffer.compare(before, key) < 0, 'a scan is not ascending')
      before = key
      forward.push(key)
      assert.ok(store.getSync(space, key, 0, key.length, out), `${key.toString('hex')} is scanned but not found`)
      assert.ok(out.copy().equals(value), `${key.toString('hex')} has one value in the scan, another when asked for`)
      found.set(Model.id(space, key), value)
    }
    const backward = [...store.entries({ space, reverse: true })].map(([key]) => key).reverse()
    assert.is(backward.length, forward.length, 'backwards there are more or fewer entries')
    for (const [i, key] of backward.entries()) assert.ok(key.equals(forward[i]!), 'backwards the order is another')
  }
  found.checkpoint = store.checkpoint
  return found
}

/** The files that the manifest of a store counts: its tables, and where its logs begin. */
function liveFiles(fs: Fs, dir: string): { manifest: string; tables: Set<string>; oldestLog: number } {
  const manifest = read(fs, `${dir}/CURRENT`).toString().split('\n')[0]!
  const text = read(fs, `${dir}/${manifest}`).toString('latin1')
  const from = text.lastIndexOf('{"storeId"')
  const state = JSON.parse(text.slice(from, text.indexOf('}', text.indexOf('"last"', from)) + 1)) as {
    upper: number[][]
    last: number[]
    oldestLog: number
  }
  const tables = [...state.upper.flat(), ...state.last].map((number) => `${String(number).padStart(10, '0')}.tbl`)
  return { manifest, tables: new Set(tables), oldestLog: state.oldestLog }
}

/** Throws when a directory has files that a store which was just opened does not need. */
export function checkNoOrphans(fs: Fs, dir: string): void {
  const { manifest, tables, oldestLog } = liveFiles(fs, dir)
  const names = fs.readdirSync(dir)
  const orphans = names.filter((name) => {
    if (name === 'CURRENT' || name === 'LOCK' || name === manifest || tables.has(name)) return false
    return !(name.endsWith('.log') && Number.parseInt(name, 10) >= oldestLog)
  })
  assert.equal(orphans, [], `of ${names.join(' ')} nobody needs these`)
  for (const table of tables) assert.ok(names.includes(table), `${table} is missing`)
}

function read(fs: Fs, path: string): Buffer {
  const file = fs.openSync(path, 'read')
  try {
    const bytes = Buffer.alloc(file.sizeSync())
    return bytes.subarray(0, file.readSync(bytes, 0, bytes.length, 0))
  } finally {
    file.closeSync()
  }
}

/** Manifests for tests: a store in /s of which only the manifest matters, and states that can be told apart. */
import * as assert from 'uvu/assert'
import type { Fs } from '../../../src/base/fs.ts'
import { StoreError } from '../../../src/storage/errors.ts'
import type { ManifestFiles } from '../../../src/storage/log/current.ts'
import { manifestName } from '../../../src/storage/log/format.ts'
import { Manifest } from '../../../src/storage/log/manifest.ts'
import type { ManifestState } from '../../../src/storage/log/manifest-state.ts'
import { SimFs } from './sim-fs.ts'

export const dir = '/s'
export const storeId = '000102030405060708090a0b0c0d0e0f'
export const path = (number: number): string => `${dir}/${manifestName(number)}`
export const current = `${dir}/CURRENT`

export function filesOf(fs: Fs, checkLock?: () => void): ManifestFiles {
  return { fs, dir, store: 'g/t/0', now: () => 1_700_000_000_000, checkLock }
}

/** State number `i` of a store's life; each differs from the others in every part that may change. */
export function stateOf(i: number): ManifestState {
  return {
    storeId,
    hashSeed: -123,
    nextFile: 10 + 3 * i,
    flushedSeq: 100 * i,
    oldestLog: 2 + i,
    checkpoint: i === 0 ? null : { position: 1000 * i, state: Buffer.from(`s${i}`).toString('base64'), wallMs: 5 + i },
    upper: Array.from({ length: i }, (_, run) => [3 * run + 3, 3 * run + 4]),
    last: i === 0 ? [] : [3 * i + 5],
  }
}

export function emptySim(): SimFs {
  const fs = new SimFs()
  fs.mkdirSync(dir)
  fs.syncDirSync('/')
  return fs
}

/** A store with manifest 1 that had the states 0 … `last`, and where each state's frame ends. */
export function storeWith(last: number): { fs: SimFs; ends: number[] } {
  const fs = emptySim()
  const manifest = Manifest.create(filesOf(fs), 1, stateOf(0))
  const ends = [manifest.byteLength]
  for (let i = 1; i <= last; i++) {
    manifest.append(stateOf(i))
    ends.push(manifest.byteLength)
  }
  manifest.synced.block()
  manifest.close()
  return { fs, ends }
}

/** What opening gives: the number of the state and the bytes dropped, or the error. */
export function open(fs: Fs): { state: number; dropped: number } | StoreError | 'new' {
  let opened: ReturnType<typeof Manifest.open>
  try {
    opened = Manifest.open(filesOf(fs))
  } catch (error) {
    if (error instanceof StoreError) return error
    throw error
  }
  if (opened === undefined) return 'new'
  opened.manifest.dropTail()
  opened.manifest.close()
  const number = opened.state.flushedSeq / 100
  assert.equal(opened.state, stateOf(number))
  return { state: number, dropped: opened.droppedBytes }
}

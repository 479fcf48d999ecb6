/** Directories of tables as the commands take them: which stores are there, and what their places say. */
import { existsSync, readdirSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { MillraceError } from '../base/errors.ts'
import { logEngine, type LogStore, storeNameOf } from '../storage/index.ts'
import { UsageError } from './usage.ts'

/** A store on disk. */
export interface StorePlace {
  /** Absolute. */
  readonly path: string
  /** `group/table/partition`. */
  readonly name: string
  /** As its place says; undefined when it says nothing of the kind. */
  readonly group: string | undefined
  readonly topic: string | undefined
  readonly partition: number | undefined
}

const isPartition = /^(\d{1,9})(\.old)?$/

function placeOf(path: string): StorePlace {
  const name = storeNameOf(path)
  const [group, topic, last = ''] = name.split('/')
  const number = isPartition.exec(last)?.[1]
  if (number === undefined) return { path, name, group: undefined, topic: undefined, partition: undefined }
  return { path, name, group, topic, partition: Number(number) }
}

/** Any file of a store tells one: also a store that has lost some may be looked at. */
const isOfStore = /^(CURRENT|MANIFEST-\d{10,}|\d{10,}\.(log|tbl))$/

function hasStore(path: string): boolean {
  return existsSync(path) && statSync(path).isDirectory() && readdirSync(path).some((name) => isOfStore.test(name))
}

/**
 * The stores that DIR names: itself, or all partitions of a table. Throws UsageError without one DIR, MillraceError
 * `ERR_NO_STORE` when nothing is there.
 */
export function storesIn(positionals: readonly string[], usage: string): StorePlace[] {
  const [given, more] = positionals
  if (given === undefined) throw new UsageError('DIR is missing', usage)
  if (more !== undefined) throw new UsageError(`only one DIR, not also '${more}'`, usage)
  const path = resolve(given)
  if (hasStore(path)) return [placeOf(path)]
  const inside = existsSync(path) && statSync(path).isDirectory() ? readdirSync(path) : []
  const partitions = inside.filter((one) => isPartition.test(one) && hasStore(join(path, one)))
  if (partitions.length === 0) {
    const what = existsSync(path) ? 'holds no table: name <dir>/<group>/<table>/<partition>' : 'does not exist'
    throw new MillraceError('ERR_NO_STORE', `${path} ${what}`)
  }
  const byNumber = (a: string, b: string): number => Number.parseInt(a, 10) - Number.parseInt(b, 10)
  return partitions.sort(byNumber).map((one) => placeOf(join(path, one)))
}

/** Opens a store, does something with it, and closes it. */
export async function withStore<T>(place: StorePlace, body: (store: LogStore) => Promise<T>): Promise<T> {
  const engine = logEngine({ dir: join(place.path, '..') })
  try {
    return await body(await engine.openPath(place.path))
  } finally {
    await engine.close()
  }
}

/** Whether this is what a rebuild that is not complete has left aside. */
export const isAside = (place: StorePlace): boolean => basename(place.path).endsWith('.old')

/** `12,345`. */
export const counted = (n: number): string => n.toLocaleString('en')

/** `1.2 MiB`. */
export function sized(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  let unit = 0
  let value = bytes
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return unit === 0 ? `${counted(value)} bytes` : `${value.toFixed(1)} ${units[unit]}`
}

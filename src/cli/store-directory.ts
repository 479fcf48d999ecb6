/** Directories of tables as the commands take them: which stores are there, and what their places say. */
import { existsSync, readdirSync, statSync } from 'node:fs'
import { basename, join, parse, resolve, sep } from 'node:path'
import { MillraceError } from '../base/errors.ts'
import { encodePart, logEngine, type LogStore, storeNameOf } from '../storage/index.ts'
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

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}

function hasStore(path: string): boolean {
  return isDirectory(path) && readdirSync(path).some((name) => isOfStore.test(name))
}

/** The partitions in the directory of a table, in their order. */
function partitionsIn(path: string): string[] {
  const names = isDirectory(path) ? readdirSync(path) : []
  const partitions = names.filter((one) => isPartition.test(one) && hasStore(join(path, one)))
  return partitions.sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10))
}

/** So many tables are shown to choose from. */
const maxShown = 10

/** Why nothing is found at a path, and what may be meant instead. */
function nothingAt(path: string): string {
  if (!existsSync(path)) {
    const meant = encoded(path)
    return `${path} does not exist${meant === undefined ? '' : `; is ${meant} meant? Names are percent-encoded on disk`}`
  }
  if (!isDirectory(path)) return `${path} is a file: name the directory of a table`
  const inside = pathsIn(path)
  const tables = [...inside, ...inside.flatMap(pathsIn)].filter(holdsPartitions)
  if (tables.length === 0)
    return `${path} holds no table: name <dir>/<group>/<table> or <dir>/<group>/<table>/<partition>`
  const more = tables.length > maxShown ? [`and ${tables.length - maxShown} more`] : []
  return [`${path} is not a table, but holds some: name one of them`, ...tables.slice(0, maxShown), ...more].join(
    '\n  ',
  )
}

/** What is in a directory that may be any; nothing in one that cannot be read. */
function pathsIn(path: string): string[] {
  try {
    return readdirSync(path).map((name) => join(path, name))
  } catch {
    return []
  }
}

function holdsPartitions(path: string): boolean {
  try {
    return partitionsIn(path).length > 0
  } catch {
    return false
  }
}

/** The path with names of groups and tables as they are on disk; undefined when there is none either. */
function encoded(path: string): string | undefined {
  const { root } = parse(path)
  let found = root
  for (const part of path.slice(root.length).split(sep)) {
    const next = [part, encodePart(part)].map((one) => join(found, one)).find((one) => existsSync(one))
    if (next === undefined) return undefined
    found = next
  }
  return found
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
  const partitions = partitionsIn(path)
  if (partitions.length === 0) throw new MillraceError('ERR_NO_STORE', nothingAt(path))
  return partitions.map((one) => placeOf(join(path, one)))
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

/**
 * Options as data: one table per options object says type, default and bounds; `resolveOptions` turns what the user
 * gave into a frozen, complete copy or throws one OptionError that names every fault, unknown names included.
 */
import { OptionError } from './errors.ts'

/** One row of an options table: `check` returns a fault ("must be …") or undefined. */
export interface OptionRow<T> {
  readonly default: T
  check(value: unknown): string | undefined
}

export type OptionTable<T> = { readonly [K in keyof T]-?: OptionRow<Exclude<T[K], undefined>> }
export type Resolved<T> = { readonly [K in keyof T]-?: Exclude<T[K], undefined> }

/** A whole number in [min, max]; the unit is in the option's name. */
export function int(row: { default: number; min: number; max: number }): OptionRow<number> {
  return {
    default: row.default,
    check: (value) =>
      typeof value === 'number' && Number.isSafeInteger(value) && value >= row.min && value <= row.max
        ? undefined
        : `must be a whole number from ${row.min} to ${row.max}`,
  }
}

export function bool(row: { default: boolean }): OptionRow<boolean> {
  return { default: row.default, check: (value) => (typeof value === 'boolean' ? undefined : 'must be true or false') }
}

/** One of a closed set of words. */
export function oneOf<const T extends string>(words: readonly T[], row: { default: NoInfer<T> }): OptionRow<T> {
  return {
    default: row.default,
    check: (value) =>
      words.includes(value as T) ? undefined : `must be one of ${words.map((w) => `'${w}'`).join(', ')}`,
  }
}

/** Any string; `pattern` describes the rule in words. */
export function text(row: { default: string; rule?: RegExp; says?: string }): OptionRow<string> {
  return {
    default: row.default,
    check: (value) =>
      typeof value === 'string' && (row.rule === undefined || row.rule.test(value))
        ? undefined
        : (row.says ?? 'must be a string'),
  }
}

/** Anything that `accepts` takes: callbacks, codecs, objects. */
export function custom<T>(row: { default: T; accepts: (value: unknown) => boolean; says: string }): OptionRow<T> {
  return { default: row.default, check: (value) => (row.accepts(value) ? undefined : row.says) }
}

/** Levenshtein distance, for "did you mean"; option names are short. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[b.length]!
}

/** The name that differs least, if it differs by no more than a slip of the keys. */
function nearest(name: string, names: readonly string[]): string | undefined {
  let best: string | undefined
  let least = 4
  for (const candidate of names) {
    const steps = distance(candidate.toLowerCase(), name.toLowerCase())
    if (steps >= least) continue
    best = candidate
    least = steps
  }
  return best
}

/** A frozen, complete copy of `given`; the user's object is never changed. Throws OptionError. */
export function resolveOptions<T extends object>(
  subject: string,
  table: OptionTable<T>,
  given: Partial<T> | undefined,
): Resolved<T> {
  const names = Object.keys(table) as (keyof T & string)[]
  const known = new Set<string>(names)
  const faults: string[] = []
  for (const name of Object.keys(given ?? {})) {
    if (known.has(name)) continue
    const near = nearest(name, names)
    faults.push(`unknown option ${name}${near === undefined ? '' : ` (did you mean ${near}?)`}`)
  }
  const resolved = Object.create(null) as { [K in keyof T]: T[K] }
  for (const name of names) {
    const value = (given as T | undefined)?.[name]
    if (value === undefined) {
      resolved[name] = table[name].default as T[typeof name]
      continue
    }
    const fault = table[name].check(value)
    if (fault !== undefined) faults.push(`${name} ${fault}`)
    resolved[name] = value
  }
  if (faults.length > 0) throw new OptionError(subject, faults)
  return Object.freeze(resolved) as Resolved<T>
}

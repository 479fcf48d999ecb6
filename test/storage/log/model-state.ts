/** What a store must hold, and what reads of it must give: the model's side, which knows no engine. */
import * as assert from 'uvu/assert'
import { Span, type StoreIterator, type StoreRange, type StoreReader } from '../../../src/storage/index.ts'
import type { SeededRandom } from '../../sim/random.ts'
import type { ModelKey, Universe } from './model-keys.ts'

/** By index of `Universe.keys`. */
export type Values = readonly (Buffer | undefined)[]

/** An iterator and what it must still give, the next one last. */
export interface OpenIterator {
  readonly iterator: StoreIterator
  readonly left: [key: Buffer, value: Buffer][]
}

const span = new Span()

/** One key read in every way there is. */
export function checkGet(reader: StoreReader, one: ModelKey, expected: Buffer | undefined): void {
  const { space, padded, text } = one
  const to = padded.length - 1
  assert.is(reader.hasSync(space, padded, 1, to), expected !== undefined, `has ${name(one)}`)
  span.bytes = padded
  span.from = 0
  span.to = 1
  assert.is(reader.getSync(space, padded, 1, to, span), expected !== undefined, `get ${name(one)}`)
  if (expected === undefined) assert.ok(span.bytes === padded && span.to === 1, 'the span has changed')
  else assert.ok(equal(span, expected), `another value of ${name(one)}`)
  if (text === undefined) return
  assert.is(reader.has(text), expected !== undefined)
  const found = reader.get(text)
  assert.ok(found === undefined ? expected === undefined : expected?.equals(found), `another value of text ${text}`)
}

function equal(span: Span, expected: Buffer): boolean {
  return span.length === expected.length && expected.compare(span.bytes, span.from, span.to) === 0
}

export function name({ space, key }: ModelKey): string {
  const hex = key.subarray(0, 16).toString('hex')
  return `${space}:${hex}${key.length > 16 ? `… (${key.length} bytes)` : ''}`
}

/** A random range over a space, and what it must give, the next one last. */
export function someRange(
  random: SeededRandom,
  { keys, absent }: Universe,
  values: Values,
): { readonly range: StoreRange; readonly left: [Buffer, Buffer][] } {
  const any = (): Buffer => random.pick(absent.length > 0 && random.chance(0.3) ? absent : keys).key
  const bound = (): Buffer | undefined => (random.chance(0.4) ? undefined : any())
  const space = random.chance(0.95) ? random.pick(keys).space : random.int(16)
  const from = bound()
  const to = bound()
  const prefix = random.chance(0.3) ? any().subarray(0, random.pick([0, 1, 2, 5, 999])) : undefined
  const reverse = random.chance(0.5)
  const left: [Buffer, Buffer][] = []
  for (let i = keys.length - 1; i >= 0; i--) {
    const value = values[i]
    const one = keys[i]!
    if (value === undefined || one.space !== space) continue
    if (from !== undefined && one.key.compare(from) < 0) continue
    if (to !== undefined && one.key.compare(to) >= 0) continue
    if (prefix !== undefined && !one.key.subarray(0, prefix.length).equals(prefix)) continue
    left.push([one.key, value])
  }
  if (reverse) left.reverse()
  const range = {
    space,
    reverse,
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    ...(prefix === undefined ? {} : { prefix }),
  }
  return { range, left }
}

/** Moves an iterator on by up to `count` entries; false once it has ended. Returns how many it gave. */
export function advance(open: OpenIterator, count: number): boolean {
  const { iterator, left } = open
  for (let i = 0; i < count; i++) {
    const expected = left.pop()
    assert.is(iterator.next(), expected !== undefined, 'whether there is another entry')
    if (expected === undefined) {
      assert.is(iterator.next(), false)
      return false
    }
    const [key, value] = expected
    assert.ok(equal(iterator.key, key), `another key than ${key.subarray(0, 16).toString('hex')}…`)
    assert.ok(equal(iterator.value, value), `another value of ${key.subarray(0, 16).toString('hex')}…`)
  }
  return true
}

/** Reads everything, space by space. */
export function checkAll(reader: StoreReader, { keys }: Universe, values: Values, reverse: boolean): void {
  for (let space = 0; space < 16; space++) {
    const left: [Buffer, Buffer][] = []
    for (let i = keys.length - 1; i >= 0; i--) {
      const value = values[i]
      if (keys[i]!.space === space && value !== undefined) left.push([keys[i]!.key, value])
    }
    if (reverse) left.reverse()
    if (left.length === 0 && space > 0 && space < 15) continue
    advance({ iterator: reader.iterate({ space, reverse }), left }, Number.POSITIVE_INFINITY)
  }
}

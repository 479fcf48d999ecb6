/**
 * Keys made for a hash: base hashKey run backwards. Of 8 bytes the first 4 are free, the last 4 follow from them and from
 * the hash that is wanted, so there are 2^32 keys for each hash.
 */
import { hashOf } from '../../../src/storage/log/key-hash.ts'

/** The number that undoes a multiplication by an odd one, modulo 2^32. */
function inverse(odd: number): number {
  let x = odd
  for (let i = 0; i < 5; i++) x = Math.imul(x, 2 - Math.imul(odd, x))
  return x
}

const undo1 = inverse(0xcc9e2d51)
const undo2 = inverse(0x1b873593)
const undo5 = inverse(5)
const undoA = inverse(0x85ebca6b)
const undoB = inverse(0xc2b2ae35)

const rotate = (x: number, left: number): number => (x << left) | (x >>> (32 - left))

/** What the final mixing makes `hash` of. */
function unmix(hash: number): number {
  let h = hash ^ (hash >>> 16)
  h = Math.imul(h, undoB)
  h ^= (h >>> 13) ^ (h >>> 26)
  h = Math.imul(h, undoA)
  return h ^ (h >>> 16)
}

function mixBlock(k: number): number {
  return Math.imul(rotate(Math.imul(k, 0xcc9e2d51), 15), 0x1b873593)
}

/** The `n`-th key of 8 bytes whose hash in `space` of a store with this seed is `hash`. */
export function keyWithHash(seed: number, space: number, hash: number, n: number): Buffer {
  const first = n | 0
  let h = (seed + Math.imul(space, 0x3c6ef372)) ^ 8
  h ^= mixBlock(first)
  h = (Math.imul(rotate(h, 13), 5) + 0xe6546b64) | 0
  const wanted = rotate(Math.imul((unmix(hash) - 0xe6546b64) | 0, undo5), -13 & 31)
  const second = Math.imul(rotate(Math.imul(wanted ^ h, undo2), -15 & 31), undo1)
  const key = Buffer.alloc(8)
  key.writeInt32LE(first, 0)
  key.writeInt32LE(second, 4)
  if (hashOf(seed, space, key, 0, 8) !== (hash | 0)) throw new Error('the hash has changed: so must this file')
  return key
}

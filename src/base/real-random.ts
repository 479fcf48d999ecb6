/** The real source of randomness. Stateless. Every other file gets randomness from its Scope (base/scope.ts). */
import { randomBytes } from 'node:crypto'
import type { Random } from './scope.ts'

/** Math.random for jitter, the operating system's generator for identifiers. */
export const realRandom: Random = {
  next: () => Math.random(),
  bytes: (size) => randomBytes(size),
}

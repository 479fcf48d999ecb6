/** What the tests with hostile input share: how a refusal is checked, and names that nobody should use. */
import * as assert from 'uvu/assert'
import { MillraceError } from '../../src/base/errors.ts'
import type { AnyGroup, Millrace, ProcessorOptions } from '../../src/index.ts'

export const fast = { sessionTimeoutMs: 6_000, checkpointIntervalMs: 20 } as const

/** What is thrown or rejected with; it must be one of ours, with this code, and its message must say all of `says`. */
export async function refused(
  what: string,
  run: () => unknown,
  code: string,
  says: readonly (string | RegExp)[],
): Promise<MillraceError> {
  let error: unknown
  try {
    await run()
  } catch (cause) {
    error = cause
  }
  assert.instance(error, MillraceError, `${what}: ${String(error)}`)
  const { code: actual, message } = error as MillraceError
  assert.is(actual, code, `${what}: ${message}`)
  for (const part of says) {
    const found = typeof part === 'string' ? message.includes(part) : part.test(message)
    assert.ok(found, `${what}: the message does not say ${String(part)}: ${message}`)
  }
  return error as MillraceError
}

/** Starts a processor of `group` and resolves with what ends it. */
export async function ends(
  app: Millrace,
  group: AnyGroup,
  feed: () => Promise<unknown>,
  options: ProcessorOptions = {},
): Promise<void> {
  const processor = app.processor(group as never, { ...fast, ...options })
  try {
    await processor.start()
    await feed()
    await processor.done
  } finally {
    await processor.close().catch(() => {})
  }
}

export const at = (topic: string, offset: number): string => `${topic}/0, offset ${offset}`
export const longest = 'n'.repeat(249)
/** Names of Object.prototype, of devices, and the longest: legal everywhere. */
export const strange = ['__proto__', 'constructor', 'hasOwnProperty', 'CON', '...', '-', longest]

/**
 * The test wrapper over uvu that every test file uses. It adds what uvu lacks: a deadline per test that names the active
 * handles, hooks whose failure fails the tests (uvu swallows it), and an end of the process that does not wait for leaks.
 * Owns the deadline timers and the watch over the end of the process; the state below is per test process on purpose.
 */
import { suite as uvuSuite } from 'uvu'

/** Milliseconds a test may take unless its suite or itself says otherwise. */
const defaultDeadlineMs = 20_000
/** Milliseconds the process may stay alive after its last test. */
const lingerMs = 5_000

export type TestBody = () => Promise<void> | void
export interface SuiteOptions {
  /** Milliseconds each test, its hooks included, may take. Default 20 000. */
  readonly deadlineMs?: number
}
interface Hook {
  (body: TestBody): void
  each(body: TestBody): void
}
/** `test(name, body)` registers, `test.run()` runs; a file that never calls it fails (tools/tidy, tools/run-tests). */
export interface Suite {
  (name: string, body: TestBody, options?: SuiteOptions): void
  /** Once before the first test; a failure fails every test of the suite. */
  readonly before: Hook
  /** Once after the last test. */
  readonly after: Hook
  /** Registers a test that does not run here, and prints why. */
  skip(name: string, reason: string): void
  run(): void
}

/** Called when the event loop has run dry while a test is waiting: its promise can never settle. */
let onDry: (() => void) | undefined
let endWatch: NodeJS.Timeout | undefined
let overran = false
process.on('beforeExit', () => onDry?.())

/** What keeps the event loop alive, counted: `TCPSocketWrap ×2, Timeout ×1`. */
export function activeResources(): string {
  const counts = new Map<string, number>()
  for (const name of process.getActiveResourcesInfo()) counts.set(name, (counts.get(name) ?? 0) + 1)
  return [...counts].map(([name, count]) => `${name} ×${count}`).join(', ') || 'nothing'
}

/** Runs `body` until it ends, its time is over, or nothing is left that could end it. */
async function withDeadline(what: string, deadlineMs: number, body: TestBody): Promise<void> {
  let settle: (cause: Error) => void = () => {}
  const failed = new Promise<never>((_resolve, reject) => {
    settle = reject
  })
  const timer = setTimeout(() => {
    overran = true
    settle(new Error(`${what}: not finished after ${deadlineMs} ms; still active: ${activeResources()}`))
  }, deadlineMs).unref()
  onDry = () => {
    onDry = undefined
    setImmediate(() => settle(new Error(`${what}: waits for something that can never come: the event loop is empty`)))
  }
  try {
    await Promise.race([Promise.resolve(body()), failed])
  } catch (cause) {
    // uvu's reporter reads name and stack, and would swallow a failure that is no Error.
    throw cause instanceof Error ? cause : new Error(`${what}: threw ${String(cause)}`)
  } finally {
    clearTimeout(timer)
    onDry = undefined
  }
}

/** A process that outlives its tests has leaked something: say what, and end it as a failure. */
function watchEnd(): void {
  endWatch = setTimeout(
    () => {
      console.error(`the tests are over but the process is kept alive by: ${activeResources()}`)
      process.exit(1)
    },
    overran ? 0 : lingerMs,
  )
  if (!overran) endWatch.unref()
}

export function suite(name: string, options: SuiteOptions = {}): Suite {
  const uvu = uvuSuite(name)
  const hooks = {
    before: [] as TestBody[],
    after: [] as TestBody[],
    beforeEach: [] as TestBody[],
    afterEach: [] as TestBody[],
  }
  const deadlineMs = options.deadlineMs ?? defaultDeadlineMs
  let broken: unknown

  const test = (title: string, body: TestBody, own: SuiteOptions = {}): void => {
    const wrapped = async (): Promise<void> => {
      for (const hook of hooks.beforeEach) await hook()
      try {
        await body()
      } finally {
        for (const hook of hooks.afterEach) await hook()
      }
    }
    uvu(title, async () => {
      if (broken !== undefined) throw broken
      await withDeadline(title, own.deadlineMs ?? deadlineMs, wrapped)
    })
  }
  const hook = (once: TestBody[], each: TestBody[]): Hook =>
    Object.assign((body: TestBody) => void once.push(body), { each: (body: TestBody) => void each.push(body) })

  return Object.assign(test, {
    before: hook(hooks.before, hooks.beforeEach),
    after: hook(hooks.after, hooks.afterEach),
    skip: (title: string, reason: string): void => {
      console.log(`skipped: ${name}: ${title}: ${reason}`)
      uvu.skip(title)
    },
    run: (): void => {
      uvu.before(async () => {
        clearTimeout(endWatch)
        try {
          for (const body of hooks.before) await withDeadline(`${name}: before`, deadlineMs, body)
        } catch (cause) {
          broken = cause
        }
      })
      uvu.after(async () => {
        try {
          for (const body of hooks.after) await withDeadline(`${name}: after`, deadlineMs, body)
        } finally {
          watchEnd()
        }
      })
      uvu.run()
    },
  })
}

/**
 * Expects a promise to reject and returns its error for closer checks. `expected`: a class the error must be an instance
 * of, a pattern its message must match, or its `code`.
 */
export async function rejects<E extends Error = Error>(
  promise: Promise<unknown> | (() => Promise<unknown>),
  expected?: (abstract new (...args: never[]) => E) | RegExp | string,
): Promise<E> {
  let error: unknown
  try {
    await (typeof promise === 'function' ? promise() : promise)
  } catch (cause) {
    error = cause
  }
  if (error === undefined) throw new Error('expected a rejection, but the promise resolved')
  if (!(error instanceof Error)) throw new Error(`expected an Error, but ${String(error)} was thrown`)
  if (expected instanceof RegExp) {
    if (!expected.test(error.message)) throw new Error(`expected a message like ${expected}, got: ${error.message}`)
  } else if (typeof expected === 'string') {
    const code = (error as { code?: unknown }).code
    if (code !== expected) throw new Error(`expected code ${expected}, got ${String(code)}: ${error.message}`)
  } else if (expected !== undefined && !(error instanceof expected)) {
    throw new Error(`expected a ${expected.name}, got ${error.name}: ${error.message}`, { cause: error })
  }
  return error as E
}

export interface UntilOptions {
  /** Milliseconds until it gives up. Default 10 000. */
  readonly deadlineMs?: number
  /** What is waited for, for the message. */
  readonly what?: string
  /** Subscribes to whatever may change the condition and returns how to unsubscribe. Without it, polls every 5 ms. */
  readonly event?: (changed: () => void) => () => void
}

/**
 * Waits until `condition` returns something truthy and resolves with it. For state that announces no event of its own:
 * a real broker, another process. Where the code under test offers a promise, await that instead.
 */
export function until<T>(condition: () => T | Promise<T>, options: UntilOptions = {}): Promise<NonNullable<T>> {
  const deadlineMs = options.deadlineMs ?? 10_000
  return new Promise((resolve, reject) => {
    let over = false
    let last: unknown
    let next: NodeJS.Timeout | undefined
    const end = (settle: () => void): void => {
      over = true
      clearTimeout(timer)
      clearTimeout(next)
      unsubscribe?.()
      settle()
    }
    const timer = setTimeout(() => {
      const state = last === undefined ? '' : `; last seen: ${last instanceof Error ? last.message : String(last)}`
      end(() => reject(new Error(`${options.what ?? 'the condition'} did not hold within ${deadlineMs} ms${state}`)))
    }, deadlineMs)
    const check = async (): Promise<void> => {
      if (over) return
      try {
        const value = await condition()
        last = value
        if (over) return
        if (value) end(() => resolve(value as NonNullable<T>))
        else if (options.event === undefined) next = setTimeout(() => void check(), 5)
      } catch (cause) {
        if (!over) end(() => reject(cause))
      }
    }
    const unsubscribe = options.event?.(() => void check())
    void check()
  })
}

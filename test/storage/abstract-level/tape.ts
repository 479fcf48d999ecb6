/**
 * What abstract-level's suite uses of the test library it was written for (tape), on node:assert: tests that come one
 * after the other, plans, ends, tests inside tests. Stricter in one thing: whatever is asserted after the end of a test
 * is a failure of the run.
 */
import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'

type Body = (t: Tape) => unknown
/** What is registered: also callable with options between name and body, which mean nothing here. */
export type Register = (name: string, ...rest: [Body] | [unknown, Body]) => void

export interface Failure {
  readonly name: string
  readonly text: string
}

/** Collects tests, then runs them. */
export class TapeRun {
  readonly failures: Failure[] = []
  tests = 0
  assertions = 0
  readonly #registered: { readonly name: string; readonly body: Body }[] = []
  readonly #deadlineMs: number

  constructor(deadlineMs = 10_000) {
    this.#deadlineMs = deadlineMs
  }

  /** As `require('tape')`. */
  readonly register: Register & { skip: () => void; only: () => never } = Object.assign(
    (name: string, ...rest: [Body] | [unknown, Body]): void => {
      this.#registered.push({ name, body: rest.at(-1) as Body })
    },
    {
      skip: (): void => {},
      only: (): never => {
        throw new Error('test.only is not known here')
      },
    },
  )

  async run(): Promise<void> {
    for (const { name, body } of this.#registered) await this.runOne(name, body)
  }

  async runOne(name: string, body: Body): Promise<void> {
    this.tests += 1
    const t = new Tape(this, name)
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        this.fail(name, `not finished after ${this.#deadlineMs} ms`)
        resolve()
      }, this.#deadlineMs)
    })
    await Promise.race([t.run(body), late])
    clearTimeout(timer)
  }

  fail(name: string, text: string): void {
    this.failures.push({ name, text })
  }
}

/** `t` of a test. */
export class Tape {
  readonly #run: TapeRun
  readonly #name: string
  #planned: number | undefined
  #count = 0
  #ended = false
  #finish: () => void = () => {}
  readonly #inner: (() => Promise<void>)[] = []

  constructor(run: TapeRun, name: string) {
    this.#run = run
    this.#name = name
  }

  async run(body: Body): Promise<void> {
    const finished = new Promise<void>((resolve) => {
      this.#finish = resolve
    })
    try {
      const result = body(this)
      if (result instanceof Promise) {
        await result
        if (this.#planned === undefined) this.#end()
      }
    } catch (error) {
      this.#run.fail(this.#name, String((error as Error).stack ?? error))
      this.#end()
    }
    await finished
    for (const inner of this.#inner) await inner()
    if (this.#planned !== undefined && this.#count !== this.#planned) {
      this.#run.fail(this.#name, `${this.#count} assertions instead of ${this.#planned}`)
    }
  }

  #end(): void {
    this.#ended = true
    this.#finish()
  }

  /** Ends at the last planned assertion, but not before what follows it in the same turn. */
  #counted(): void {
    this.#count += 1
    this.#run.assertions += 1
    if (this.#count === this.#planned) setImmediate(() => this.#end())
    else if (this.#ended) this.#run.fail(this.#name, 'asserted after its end')
  }

  #check(holds: boolean, message: string | undefined, what: () => string): void {
    if (!holds) this.#run.fail(this.#name, `${message ?? 'an assertion'}: ${what()}${new Error('at').stack?.slice(5)}`)
    this.#counted()
  }

  test(name: string, body: Body): void {
    this.#inner.push(() => this.#run.runOne(`${this.#name} › ${name}`, body))
    // A planned test counts those inside it as well.
    if (this.#planned !== undefined) this.#counted()
  }

  plan(count: number): void {
    this.#planned = count
    if (count === 0) this.#end()
  }

  end(): void {
    this.#end()
  }

  is(actual: unknown, expected: unknown, message?: string): void {
    this.#check(Object.is(actual, expected), message, () => `${show(actual)} is not ${show(expected)}`)
  }

  isNot(actual: unknown, expected: unknown, message?: string): void {
    this.#check(!Object.is(actual, expected), message, () => `it is ${show(expected)}`)
  }

  same(actual: unknown, expected: unknown, message?: string): void {
    const equal = isDeepStrictEqual(actual, expected)
    this.#check(equal, message, () => `${show(actual)} is not like ${show(expected)}`)
  }

  ok(value: unknown, message?: string): void {
    this.#check(Boolean(value), message, () => `${show(value)} does not hold`)
  }

  pass(message?: string): void {
    this.#check(true, message, () => '')
  }

  fail(message?: string): void {
    this.#check(false, message, () => 'it fails')
  }

  throws(action: () => void, expected?: RegExp | ((error: unknown) => boolean), message?: string): void {
    try {
      if (expected === undefined) assert.throws(action)
      else assert.throws(action, expected)
      this.pass()
    } catch (error) {
      this.#check(false, message, () => (error as Error).message)
    }
  }

  doesNotThrow(action: () => void, message?: string): void {
    try {
      action()
      this.pass()
    } catch (error) {
      this.#check(false, message, () => (error as Error).message)
    }
  }
}

function show(value: unknown): string {
  if (value instanceof Error) return `${value.name} ${value.message}`
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

/**
 * Groups: a declaration and the callbacks chained to it. A group is immutable data without a connection: `on` gives a new
 * one. Contradictions are reported by `describeGroup`, all at once, when a processor is made of the group; the processor
 * reads only the plain description that comes out of it.
 */
import { assert } from '../base/assert.ts'
import { type Codec, codecName } from './codec.ts'
import { string } from './codecs/string.ts'
import type { Declaration, Handler, UntypedHandler } from './context.ts'
import { GraphError, StreamsError } from './errors.ts'
import { isCodec, isHandle, type Stream, type Table } from './handles.ts'
import { loopTopic, nameFault, tableTopic } from './names.ts'

/** What every group offers; `Group` adds `onLoop` where a loop is declared. */
export interface GroupOf<D extends Declaration, N extends string> {
  /** Also the consumer group's id. */
  readonly name: N
  /** The group table, for views and for other groups' joins and lookups; undefined if the group has none. */
  readonly table: D['table'] extends Codec<infer T> ? Table<T, `${N}-table`> : undefined
  /**
   * The same group with one more input. All inputs, joins, the loop and the table must have equal partition counts.
   * @example defineGroup('counts', { table: int64 }).on(clicks, (ctx) => ctx.set((ctx.get() ?? 0n) + 1n))
   */
  on<T>(stream: Stream<T>, handler: Handler<D, T>): Group<D, N>
}

/** The callback of a group's own loop. */
export interface LoopOf<D extends Declaration, N extends string, L> {
  /** The same group with its loop's callback. */
  onLoop(handler: Handler<D, L>): Group<D, N>
}

/** A group of processors: what it declares, and its callbacks. Made by `defineGroup`. */
export type Group<D extends Declaration, N extends string = string> = GroupOf<D, N> &
  (D['loop'] extends Codec<infer L> ? LoopOf<D, N, L> : unknown)

/** Any group, for functions that take them all. */
export interface AnyGroup {
  /** Also the consumer group's id. */
  readonly name: string
  /** Undefined: the group has none. */
  readonly table: Table<unknown> | undefined
}

/** A topic with its codec. */
export interface Edge {
  readonly topic: string
  readonly codec: Codec<unknown>
}

/** A topic that is consumed, with its callback. */
export interface InputEdge extends Edge {
  readonly handler: UntypedHandler
}

/** A validated group as plain data: what a processor runs. Topics are unique in each list. */
export interface GroupGraph {
  readonly name: string
  readonly keyCodec: Codec<unknown>
  readonly table: Edge | undefined
  readonly loop: InputEdge | undefined
  /** At least one. The loop is not among them. */
  readonly inputs: readonly InputEdge[]
  readonly outputs: readonly Edge[]
  readonly joins: readonly Edge[]
  readonly lookups: readonly Edge[]
}

interface Consumed {
  /** Undefined: the group's own loop. */
  readonly stream: unknown
  readonly handler: UntypedHandler
}

/**
 * Begins a group: says what it keeps, emits and reads. Callbacks are chained to it with `on` and `onLoop`. Nothing is
 * checked here; `describeGroup`, which every processor calls, throws one GraphError that lists all contradictions.
 * @param name of the consumer group, and the prefix of its topics: `<name>-table`, `<name>-loop`. Topic name rules.
 * @example
 * const counter = defineGroup('user-clicks', { table: int64, outputs: [alerts] })
 *   .on(clicks, (ctx) => ctx.set((ctx.get() ?? 0n) + 1n))
 */
export function defineGroup<const N extends string, const D extends Declaration>(name: N, declaration: D): Group<D, N> {
  const copy: Declaration = Object.freeze({ ...(declaration as Declaration) })
  const table: Table<unknown> | undefined =
    copy.table === undefined ? undefined : Object.freeze({ kind: 'table', topic: tableTopic(name), codec: copy.table })
  // The class cannot say that onLoop exists only for declared loops; this function's type does.
  return new Definition(name, table, copy, []) as unknown as Group<D, N>
}

class Definition implements AnyGroup {
  readonly name: string
  readonly table: Table<unknown> | undefined
  readonly #declaration: Declaration
  readonly #consumed: readonly Consumed[]

  constructor(
    name: string,
    table: Table<unknown> | undefined,
    declaration: Declaration,
    consumed: readonly Consumed[],
  ) {
    this.name = name
    this.table = table
    this.#declaration = declaration
    this.#consumed = consumed
    Object.freeze(this)
  }

  on(stream: unknown, handler: UntypedHandler): Definition {
    return this.#with({ stream: stream ?? null, handler })
  }

  onLoop(handler: UntypedHandler): Definition {
    return this.#with({ stream: undefined, handler })
  }

  #with(one: Consumed): Definition {
    return new Definition(this.name, this.table, this.#declaration, [...this.#consumed, one])
  }

  /** Validates; the only reader of the private parts. */
  static describe(group: AnyGroup): GroupGraph {
    if (!(group instanceof Definition)) {
      throw new StreamsError('ERR_GRAPH', 'not a group: make one with defineGroup')
    }
    return new Validation(group.name, group.#declaration, group.#consumed).graph()
  }
}

/**
 * The plain description of a group.
 * @throws {GraphError} `ERR_GRAPH`, with every fault: illegal names, no input, a topic consumed twice, a loop without
 * callback or with two, the group's own table or loop among inputs, outputs, joins or lookups, one topic with two codecs
 */
export function describeGroup(group: AnyGroup): GroupGraph {
  return Definition.describe(group)
}

/** One pass over a group's declaration and callbacks that collects faults; used once. */
class Validation {
  readonly #name: string
  readonly #declaration: Declaration
  readonly #consumed: readonly Consumed[]
  readonly #faults: string[] = []
  /** Topic → its codec and where that was said, to find one topic with two codecs. */
  readonly #codecs = new Map<string, { codec: Codec<unknown>; role: string }>()

  constructor(name: string, declaration: Declaration, consumed: readonly Consumed[]) {
    this.#name = name
    this.#declaration = declaration
    this.#consumed = consumed
  }

  graph(): GroupGraph {
    const keyCodec = this.#codec('key', this.#declaration.key) ?? string
    const table = this.#own('table', tableTopic(this.#name), this.#declaration.table)
    const loop = this.#own('loop', loopTopic(this.#name), this.#declaration.loop)
    this.#checkName()
    const inputs = this.#inputs()
    const loopHandler = this.#loopHandler()
    const outputs = this.#edges('output', this.#declaration.outputs, 'stream')
    const joins = this.#edges('join', this.#declaration.joins, 'table')
    const lookups = this.#edges('lookup', this.#declaration.lookups, 'table')
    if (this.#faults.length > 0) throw new GraphError(this.#name, this.#faults)
    let loopEdge: InputEdge | undefined
    if (loop !== undefined) {
      assert(loopHandler !== undefined, 'a loop without callback passed validation')
      loopEdge = { topic: loop.topic, codec: loop.codec, handler: loopHandler }
    }
    return Object.freeze({ name: this.#name, keyCodec, table, loop: loopEdge, inputs, outputs, joins, lookups })
  }

  #checkName(): void {
    const fault = nameFault(this.#name)
    if (fault !== undefined) {
      this.#faults.push(`its name ${fault}`)
      return
    }
    if (this.#declaration.table !== undefined) this.#checkOwnTopic(tableTopic(this.#name))
    if (this.#declaration.loop !== undefined) this.#checkOwnTopic(loopTopic(this.#name))
  }

  #checkOwnTopic(topic: string): void {
    const fault = nameFault(topic)
    if (fault !== undefined) this.#faults.push(`its topic ${topic} ${fault}`)
  }

  #codec(role: string, codec: unknown): Codec<unknown> | undefined {
    if (codec === undefined || isCodec(codec)) return codec
    this.#faults.push(`${role} must be a codec: an object with encode and decode`)
    return undefined
  }

  #own(role: 'table' | 'loop', topic: string, given: unknown): Edge | undefined {
    const codec = this.#codec(role, given)
    if (codec === undefined) return undefined
    this.#codecs.set(topic, { codec, role })
    return { topic, codec }
  }

  #inputs(): InputEdge[] {
    const inputs: InputEdge[] = []
    const seen = new Set<string>()
    for (const { stream, handler } of this.#consumed) {
      if (stream === undefined) continue
      if (!isHandle(stream, 'stream')) {
        this.#faults.push('on() needs a stream handle: make one with stream()')
        continue
      }
      const { topic, codec } = stream
      if (typeof handler !== 'function') this.#faults.push(`the callback of input ${topic} must be a function`)
      if (this.#isOwn('input', topic)) continue
      if (seen.has(topic)) {
        this.#faults.push(`topic ${topic} is consumed twice`)
        continue
      }
      seen.add(topic)
      this.#agree('input', topic, codec)
      inputs.push({ topic, codec, handler })
    }
    if (!this.#consumed.some((one) => one.stream !== undefined)) this.#faults.push('it has no input: add one with on()')
    return inputs
  }

  #loopHandler(): UntypedHandler | undefined {
    const handlers = this.#consumed.filter((one) => one.stream === undefined)
    const declared = this.#declaration.loop !== undefined
    if (!declared && handlers.length > 0) this.#faults.push('it has an onLoop callback but declares no loop')
    if (declared && handlers.length === 0) this.#faults.push('it declares a loop but has no onLoop callback')
    if (handlers.length > 1) this.#faults.push(`it has ${handlers.length} onLoop callbacks: a group has one loop`)
    const handler = handlers[0]?.handler
    if (handlers.length > 0 && typeof handler !== 'function')
      this.#faults.push('the onLoop callback must be a function')
    return handler
  }

  #edges(role: 'output' | 'join' | 'lookup', given: unknown, kind: 'stream' | 'table'): Edge[] {
    if (given === undefined) return []
    if (!Array.isArray(given)) {
      this.#faults.push(`${role}s must be an array of handles`)
      return []
    }
    const edges = new Map<string, Edge>()
    for (const handle of given as readonly unknown[]) {
      if (!isHandle(handle, kind)) {
        this.#faults.push(`${role}s must be handles made by ${kind}()`)
        continue
      }
      const { topic, codec } = handle
      if (this.#isOwn(role, topic)) continue
      this.#agree(role, topic, codec)
      edges.set(topic, { topic, codec })
    }
    return [...edges.values()]
  }

  /** The group's own topics have verbs of their own and take no other role. */
  #isOwn(role: 'input' | 'output' | 'join' | 'lookup', topic: string): boolean {
    if (topic === tableTopic(this.#name)) {
      const verb = role === 'output' ? 'ctx.set()' : 'ctx.get()'
      this.#faults.push(`its own table ${topic} is declared as ${role}: use ${verb} instead`)
      return true
    }
    if (topic === loopTopic(this.#name)) {
      const verb = role === 'output' ? 'ctx.loopback()' : 'onLoop()'
      this.#faults.push(`its own loop ${topic} is declared as ${role}: use ${verb} instead`)
      return true
    }
    return false
  }

  #agree(role: string, topic: string, codec: Codec<unknown>): void {
    const known = this.#codecs.get(topic)
    if (known === undefined) this.#codecs.set(topic, { codec, role })
    else if (known.codec !== codec) {
      const names = `${codecName(known.codec)} as ${known.role}, ${codecName(codec)} as ${role}`
      this.#faults.push(`topic ${topic} is declared with two different codecs: ${names}`)
    }
  }
}

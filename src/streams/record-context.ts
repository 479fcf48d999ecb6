/**
 * RecordContext: what a callback sees of one record, and the staging of what it does. Nothing a callback does touches the
 * task before it has ended well: values, emits and loopbacks wait here, in slots that are reused from record to record.
 * Owner: one task; one object per task, valid while its callback runs.
 */
import { ByteWriter } from './byte-writer.ts'
import { checkValue, encodeTo } from './codec.ts'
import { string } from './codecs/string.ts'
import type { EmitOptions, HeaderToSend, RecordHeader, UntypedContext } from './context.ts'
import type { Entry } from './entries.ts'
import { StreamsError } from './errors.ts'
import type { Edge, GroupGraph } from './graph.ts'
import type { Stream, Table } from './handles.ts'
import { type CursorPort, maxRecordBytes, type ProducerPort } from './port.ts'
import type { Sends } from './sends.ts'
import type { TableReads } from './table-reads.ts'
import type { TaskTable } from './task-table.ts'

/** More than a batch of one record adds to its key, value and headers, bytes. */
const recordOverheadBytes = 256

const staged = { nothing: 0, value: 1, deletion: 2 } as const

/** What the contexts of all tasks of a processor share. */
export interface ContextShared {
  readonly graph: GroupGraph
  readonly outputs: ReadonlyMap<string, Edge>
  readonly lookups: ReadonlyMap<string, TableReads>
  readonly producer: ProducerPort
  readonly maxCallbackBytes: number
  /** Emits carry the time of sending instead of the input's. */
  readonly emitNow: boolean
  now(): number
}

export class RecordContext implements UntypedContext {
  topic = ''
  readonly partition: number
  offset = 0
  timestamp = 0
  readonly #shared: ContextShared
  readonly #table: TaskTable | undefined
  readonly #joins: ReadonlyMap<string, TableReads>
  #active = false
  #cursor: CursorPort | undefined
  #entry: Entry | undefined
  #key: unknown
  #handedOut = false
  #staged: 0 | 1 | 2 = staged.nothing
  #stagedValue: unknown
  #headers: RecordHeader[] | undefined
  // Emits: parallel slots, spans of #bytes. A value from −1 is a deletion.
  readonly #bytes = new ByteWriter(4096)
  #emits = 0
  readonly #emitTopic: string[] = []
  readonly #emitKeyFrom: number[] = []
  readonly #emitKeyTo: number[] = []
  readonly #emitValueTo: number[] = []
  readonly #emitTimestamp: number[] = []
  readonly #emitHeaders: (readonly HeaderToSend[] | undefined)[] = []

  constructor(
    shared: ContextShared,
    partition: number,
    table: TaskTable | undefined,
    joins: ReadonlyMap<string, TableReads>,
  ) {
    this.#shared = shared
    this.partition = partition
    this.#table = table
    this.#joins = joins
  }

  /** Before the callback: `entry` is the key's entry in the group table, if there is one. */
  begin(topic: string, cursor: CursorPort, entry: Entry | undefined, key: unknown): void {
    this.topic = topic
    this.offset = cursor.offset
    this.timestamp = cursor.timestamp
    this.#cursor = cursor
    this.#entry = entry
    this.#key = key
    this.#active = true
    this.#handedOut = false
    this.#staged = staged.nothing
    if (this.#emits > 0) {
      this.#emits = 0
      this.#bytes.reset(64 * 1024)
    }
  }

  /**
   * After a callback that ended well: what it did becomes part of the task. Returns false when the producer is full and
   * the task should wait.
   */
  merge(inputIndex: number, sends: Sends): boolean {
    this.#active = false
    const entry = this.#entry
    if (entry !== undefined && this.#table !== undefined) {
      if (this.#staged === staged.value) {
        this.#table.write(entry, this.#stagedValue, this.timestamp, inputIndex, this.offset)
      } else if (this.#staged === staged.deletion) {
        this.#table.write(entry, undefined, this.timestamp, inputIndex, this.offset)
      } else if (this.#handedOut && this.#table.mutable) this.#table.dropDecoded(entry)
    }
    this.#release()
    return this.#emits === 0 ? true : this.#send(sends, inputIndex)
  }

  /** After a callback that threw: nothing of it stays. */
  drop(): void {
    this.#active = false
    // An object that was not handed out is what an earlier record set, and may not be encoded yet.
    if (this.#handedOut && this.#table?.mutable === true) this.#table.dropDecoded(this.#entry!)
    this.#emits = 0
    this.#bytes.reset(64 * 1024)
    this.#release()
  }

  get key(): unknown {
    this.#check()
    return this.#key
  }

  headers(): readonly RecordHeader[] {
    this.#check()
    const cursor = this.#cursor
    this.#headers ??= cursor === undefined || cursor.headerCount === 0 ? [] : cursor.headers()
    return this.#headers
  }

  get(): unknown {
    const table = this.#stateful('get')
    if (this.#staged === staged.value) return this.#stagedValue
    if (this.#staged === staged.deletion) return undefined
    this.#handedOut = true
    return table.read(this.#entry!)
  }

  set(value: unknown): void {
    const table = this.#stateful('set')
    if (value === undefined || value === null) {
      throw new StreamsError('ERR_CODEC', `ctx.set(${String(value)}): use ctx.delete() to remove a key`)
    }
    checkValue(table.codec, value)
    this.#staged = staged.value
    this.#stagedValue = value
  }

  delete(): void {
    this.#stateful('delete')
    this.#staged = staged.deletion
    this.#stagedValue = undefined
  }

  emit(to: Stream<unknown>, key: string | Uint8Array, value: unknown, options?: EmitOptions): void {
    this.#check()
    const edge = this.#shared.outputs.get(to.topic)
    if (edge === undefined) {
      throw this.#undeclared(`emits to ${to.topic}`, `outputs: [stream('${to.topic}', …)]`)
    }
    const from = this.#bytes.at
    if (typeof key === 'string') encodeTo(string, key, this.#bytes)
    else this.#bytes.append(key)
    this.#stage(edge, from, value, options)
  }

  loopback(key: unknown, value: unknown, options?: EmitOptions): void {
    this.#check()
    const edge = this.#shared.graph.loop
    if (edge === undefined) throw this.#undeclared('uses its loop', 'loop: codec')
    if (value === null || value === undefined) {
      throw new StreamsError('ERR_CODEC', `ctx.loopback(key, ${String(value)}): a loop carries values, not deletions`)
    }
    const from = this.#bytes.at
    encodeTo(this.#shared.graph.keyCodec, key, this.#bytes)
    this.#stage(edge, from, value, options)
  }

  join(table: Table<unknown>): unknown {
    this.#check()
    const reads = this.#joins.get(table.topic)
    if (reads === undefined) throw this.#undeclared(`joins ${table.topic}`, `joins: [table('${table.topic}', …)]`)
    const cursor = this.#cursor!
    const from = Math.max(0, cursor.keyFrom)
    return reads.readAt(this.partition, cursor.bytes, from, Math.max(from, cursor.keyTo))
  }

  lookup(table: Table<unknown>, key: string | Uint8Array): unknown {
    this.#check()
    const reads = this.#shared.lookups.get(table.topic)
    if (reads === undefined) throw this.#undeclared(`looks up ${table.topic}`, `lookups: [table('${table.topic}', …)]`)
    return reads.read(key)
  }

  #stage(edge: Edge, keyFrom: number, value: unknown, options: EmitOptions | undefined): void {
    const bytes = this.#bytes
    const keyTo = bytes.at
    try {
      if (value !== null) encodeTo(edge.codec, value, bytes)
    } catch (cause) {
      bytes.at = keyFrom
      throw cause
    }
    if (bytes.at > this.#shared.maxCallbackBytes) {
      throw new StreamsError(
        'ERR_CALLBACK_LIMIT',
        `one callback emitted more than maxCallbackBytes (${this.#shared.maxCallbackBytes} bytes): emit less per record or raise the limit`,
      )
    }
    const size = bytes.at - keyFrom + recordOverheadBytes + headerBytes(options?.headers, edge.topic)
    if (size > maxRecordBytes) {
      throw new StreamsError(
        'ERR_CALLBACK_LIMIT',
        `a record of ${size} bytes for ${edge.topic} is above the ${maxRecordBytes} bytes that one request may carry: emit smaller records`,
      )
    }
    const timestamp = options?.timestamp ?? (this.#shared.emitNow ? this.#shared.now() : this.timestamp)
    if (!Number.isSafeInteger(timestamp)) {
      throw new StreamsError(
        'ERR_CODEC',
        `the timestamp ${String(timestamp)} of a record for ${edge.topic} makes no sense: it must be whole milliseconds`,
      )
    }
    const slot = this.#emits
    this.#emitTopic[slot] = edge.topic
    this.#emitKeyFrom[slot] = keyFrom
    this.#emitKeyTo[slot] = keyTo
    this.#emitValueTo[slot] = value === null ? -1 : bytes.at
    this.#emitTimestamp[slot] = timestamp
    this.#emitHeaders[slot] = options?.headers
    this.#emits = slot + 1
  }

  #send(sends: Sends, inputIndex: number): boolean {
    const bytes = this.#bytes.bytes
    const { producer } = this.#shared
    let room = true
    for (let i = 0; i < this.#emits; i++) {
      const keyTo = this.#emitKeyTo[i]!
      const valueTo = this.#emitValueTo[i]!
      const size = Math.max(keyTo, valueTo) - this.#emitKeyFrom[i]!
      if (size > sends.largest.bytes) this.#noteLargest(sends, size, i, inputIndex)
      sends.pending += 1
      room = producer.append(
        this.#emitTopic[i]!,
        -1,
        this.#emitTimestamp[i]!,
        bytes,
        this.#emitKeyFrom[i]!,
        keyTo,
        valueTo < 0 ? null : bytes,
        keyTo,
        Math.max(keyTo, valueTo),
        this.#emitHeaders[i],
        sends,
      )
      this.#emitHeaders[i] = undefined
    }
    return room
  }

  #noteLargest(sends: Sends, bytes: number, slot: number, inputIndex: number): void {
    const { largest } = sends
    largest.bytes = bytes
    largest.topic = this.#emitTopic[slot]!
    largest.input = inputIndex
    largest.offset = this.offset
    largest.key = this.#key
  }

  #stateful(verb: string): TaskTable {
    this.#check()
    if (this.#table === undefined) throw this.#undeclared(`calls ctx.${verb}()`, 'table: codec')
    return this.#table
  }

  #check(): void {
    if (!this.#active) {
      throw new StreamsError(
        'ERR_CONTEXT_ENDED',
        'the callback this context belongs to has ended: await what you start, and keep values, not contexts',
      )
    }
  }

  #undeclared(what: string, how: string): StreamsError {
    const { name } = this.#shared.graph
    return new StreamsError('ERR_UNDECLARED', `group ${name} ${what} without declaring it: add ${how} to defineGroup`)
  }

  #release(): void {
    this.#cursor = undefined
    this.#stagedValue = undefined
    this.#headers = undefined
  }
}

/** The most that headers take in a record. Throws for what is no header: later there would be no callback to blame. */
function headerBytes(headers: readonly HeaderToSend[] | undefined, topic: string): number {
  if (headers === undefined) return 0
  let bytes = 0
  for (const { key, value } of headers) {
    const isBytes = value === null || typeof value === 'string' || value instanceof Uint8Array
    if (typeof key !== 'string' || !isBytes) {
      throw new StreamsError(
        'ERR_CODEC',
        `a header of a record for ${topic} makes no sense: its key must be a string, its value a string, bytes or null`,
      )
    }
    bytes += 10 + key.length * 3 + (typeof value === 'string' ? value.length * 3 : (value?.length ?? 0))
  }
  return bytes
}

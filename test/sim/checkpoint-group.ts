/**
 * The group of the checkpoint simulation: what its callbacks do with an order, kindly and unkindly. An order under a key
 * of the counting kind leaves its id in the state of the key; under a key of the other kind the last order wins. Bad ids
 * are those that must never be seen: of a forgotten `set`, of a callback that threw. No state; a Probe watches.
 */
import type { Codec } from '../../src/streams/codec.ts'
import { json } from '../../src/streams/codecs/index.ts'
import { type AnyGroup, defineGroup } from '../../src/streams/graph.ts'
import { stream } from '../../src/streams/handles.ts'

export const names = { group: 'g', input: 'in', output: 'out', table: 'g-table', loop: 'g-loop' } as const

export type Deed =
  /** Counts the order: the object got from the table is changed in place, or copied, or set twice. */
  | 'add'
  /** Changes the object in place and does not set it. */
  | 'forget'
  /** Throws, in one of several ways; is skipped by the next processor. */
  | 'poison'
  /** Sets the key to this order, whatever was there. */
  | 'put'
  /** Deletes the key. */
  | 'drop'
  | 'nothing'

export interface Order {
  readonly id: number
  readonly does: Deed
  /** Chooses among the ways to do it. */
  readonly how: number
  readonly emits: boolean
  /** The key to loop to. */
  readonly loops: string | null
  /** Above 0: the callback waits. */
  readonly waitMs: number
}

export interface State {
  /** `i<id>`: times counted from the input; `l<id>`: from the loop. */
  readonly seen: Record<string, number>
  last: number
}

/** A record as its callback sees it. */
export interface Place {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly key: string
}

/** Watches the callbacks of one instance; may kill it from inside its calls. */
export interface Probe {
  began(at: Place): void
  /** What a counting callback got from the table. */
  saw(at: Place, state: State): void
  encoding(when: 'before' | 'after'): void
  sleep(ms: number): Promise<void>
  /** Whether this poisoned order is to be skipped by now. */
  skips(id: number): boolean
}

interface View extends Place {
  get(): State | undefined
  set(state: State): void
  delete(): void
  emit(to: typeof output, key: string, id: number): void
  loopback(key: string, id: number): void
}

const input = stream(names.input, json<Order>())
const output = stream(names.output, json<number>())
const fresh = (): State => ({ seen: {}, last: 0 })

export function makeGroup(probe: Probe): AnyGroup {
  const codec: Codec<State> = {
    name: 'state',
    encode(state) {
      probe.encoding('before')
      const bytes = Buffer.from(JSON.stringify(state))
      probe.encoding('after')
      return bytes
    },
    decode: (bytes) => JSON.parse(bytes.toString()) as State,
  }
  return defineGroup(names.group, { table: codec, loop: json<number>(), outputs: [output] })
    .on(input, (ctx, order) => handle(probe, ctx, order))
    .onLoop((ctx, id) => {
      probe.began(ctx)
      const state = ctx.get() ?? fresh()
      probe.saw(ctx, state)
      mark(state, `l${id}`)
      ctx.set(state)
    })
}

function handle(probe: Probe, ctx: View, order: Order): void | Promise<void> {
  probe.began(ctx)
  const { id } = order
  switch (order.does) {
    case 'nothing':
      return
    case 'forget': {
      const state = ctx.get()
      if (state !== undefined) spoil(state, id)
      return
    }
    case 'poison':
      return probe.skips(id) ? undefined : poison(probe, ctx, order)
    case 'put':
      ctx.set({ seen: {}, last: id })
      break
    case 'drop':
      ctx.delete()
      break
    case 'add':
      return add(probe, ctx, order)
  }
  sendOn(ctx, order)
}

function add(probe: Probe, ctx: View, order: Order): void | Promise<void> {
  let state = ctx.get() ?? fresh()
  probe.saw(ctx, state)
  if (order.how % 3 === 0) state = { seen: { ...state.seen }, last: state.last }
  if (order.how % 3 === 1) {
    const draft = fresh()
    spoil(draft, order.id)
    ctx.set(draft)
  }
  mark(state, `i${order.id}`)
  if (order.waitMs > 0) return addLater(probe, ctx, order, state)
  ctx.set(state)
  sendOn(ctx, order)
}

async function addLater(probe: Probe, ctx: View, order: Order, state: State): Promise<void> {
  await probe.sleep(order.waitMs)
  ctx.set(state)
  sendOn(ctx, order)
}

function poison(probe: Probe, ctx: View, order: Order): Promise<void> {
  const state = order.how % 2 === 0 ? fresh() : (ctx.get() ?? fresh())
  spoil(state, order.id)
  switch (order.how % 4) {
    case 0:
      ctx.delete()
      break
    case 3:
      break
    default:
      ctx.set(state)
      ctx.emit(output, ctx.key, -order.id)
      ctx.loopback(ctx.key, -order.id)
  }
  if (order.waitMs === 0) throw new Error('poison')
  return probe.sleep(order.waitMs).then(() => {
    throw new Error('poison')
  })
}

function sendOn(ctx: View, order: Order): void {
  if (order.emits) ctx.emit(output, ctx.key, order.id)
  if (order.loops !== null) ctx.loopback(order.loops, order.id)
}

function mark(state: State, name: string): void {
  state.seen[name] = (state.seen[name] ?? 0) + 1
}

function spoil(state: State, id: number): void {
  state.seen[`bad${id}`] = 1
  state.last = -1
}
